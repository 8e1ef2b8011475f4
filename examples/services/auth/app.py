"""A small auth service: register, log in, who am I, health."""

import os
import re
import secrets
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from json import JSONDecodeError
from typing import TypeGuard

import uvicorn
from accounts import Accounts, NameTaken
from psycopg import OperationalError
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route
from tokens import InvalidToken, Tokens


class AuthService:
    """The four routes, over the accounts and tokens of one realm."""

    def __init__(self, *, accounts: Accounts, tokens: Tokens) -> None:
        self.accounts = accounts
        self.tokens = tokens

    async def register(self, request: Request) -> JSONResponse:
        name, password = await read_credentials(request)
        try:
            await run_in_threadpool(self.accounts.add, name, password)
        except NameTaken:
            raise HTTPException(409, f"the name {name!r} is taken") from None
        return JSONResponse({"name": name}, status_code=201)

    async def login(self, request: Request) -> JSONResponse:
        name, password = await read_credentials(request)
        if not await run_in_threadpool(self.accounts.is_password_of, name, password):
            raise HTTPException(401, "wrong name or password")
        return JSONResponse({"token": self.tokens.sign(name)})

    async def me(self, request: Request) -> JSONResponse:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer":
            raise HTTPException(401, "a bearer token is needed")
        try:
            name = self.tokens.name_in(token)
        except InvalidToken as reason:
            raise HTTPException(401, str(reason)) from reason
        if not await run_in_threadpool(self.accounts.has, name):
            raise HTTPException(401, "the token's account does not exist")
        return JSONResponse({"name": name, "realm": self.tokens.realm})

    async def healthz(self, _request: Request) -> JSONResponse:
        await run_in_threadpool(self.accounts.count)
        return JSONResponse({"status": "ok"})


async def read_credentials(request: Request) -> tuple[str, str]:
    """Name and password out of a request's JSON body."""
    try:
        body = await request.json()
    except (JSONDecodeError, UnicodeDecodeError):
        raise HTTPException(400, "the body is not JSON") from None
    fields = body if isinstance(body, dict) else {}
    name, password = fields.get("name"), fields.get("password")
    if not is_storable_text(name) or not is_storable_text(password):
        raise HTTPException(422, "name and password must be texts, and not empty")
    return name, password


def is_storable_text(value: object) -> TypeGuard[str]:
    """Whether Postgres can store this: not empty, no zero byte, no half of a surrogate pair."""
    return isinstance(value, str) and re.fullmatch(r"[^\0\ud800-\udfff]+", value) is not None


def refuse(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    return JSONResponse({"error": error.detail}, status_code=error.status_code)


def report_lost_database(_request: Request, error: Exception) -> JSONResponse:
    return JSONResponse({"error": f"the database does not answer: {error}"}, status_code=503)


def build_app(service: AuthService) -> Starlette:
    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        await run_in_threadpool(service.accounts.create_table)
        yield

    return Starlette(
        routes=[
            Route("/register", service.register, methods=["POST"]),
            Route("/login", service.login, methods=["POST"]),
            Route("/me", service.me),
            Route("/healthz", service.healthz),
        ],
        exception_handlers={HTTPException: refuse, OperationalError: report_lost_database},
        lifespan=lifespan,
    )


def main() -> None:
    environ = os.environ
    for name in ("DATABASE_URL", "REALM"):
        if not environ.get(name):
            sys.exit(f"auth: the environment variable {name} is not set")
    service = AuthService(
        accounts=Accounts(environ["DATABASE_URL"]),
        tokens=Tokens(
            realm=environ["REALM"],
            key=environ.get("SIGNING_KEY") or secrets.token_hex(32),
        ),
    )
    uvicorn.run(build_app(service), host="0.0.0.0", port=int(environ.get("PORT", "8000")))


if __name__ == "__main__":
    main()
