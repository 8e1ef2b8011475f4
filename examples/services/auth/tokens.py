"""Signed tokens that say who someone is, and in which realm."""

import time

import jwt

LIFETIME_S = 3600


class InvalidToken(Exception):
    """The token is broken, too old, or of another realm."""


class Tokens:
    def __init__(self, *, realm: str, key: str) -> None:
        self.realm = realm
        self._key = key

    def sign(self, name: str) -> str:
        now = int(time.time())
        claims = {"sub": name, "iss": self.realm, "aud": self.realm, "exp": now + LIFETIME_S}
        return jwt.encode(claims, self._key, algorithm="HS256")

    def name_in(self, token: str) -> str:
        """The name that this realm signed into the token."""
        try:
            claims = jwt.decode(token, self._key, algorithms=["HS256"], issuer=self.realm, audience=self.realm)
            return str(claims["sub"])
        except (jwt.InvalidTokenError, KeyError) as error:
            raise InvalidToken(f"the token is not valid here: {error}") from error
