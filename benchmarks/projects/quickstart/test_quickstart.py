import json
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest


def call(url, body=None, token=""):
    data = None if body is None else json.dumps(body).encode()
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    with urlopen(Request(url, data=data, headers=headers), timeout=10) as answer:
        return json.load(answer)


def test_a_new_user_can_log_in(auth_url):
    ann = {"name": "ann", "password": "sesame"}
    call(f"{auth_url}/register", ann)
    token = call(f"{auth_url}/login", ann)["token"]
    assert call(f"{auth_url}/me", token=token) == {"name": "ann", "realm": "head-office"}


def test_a_wrong_password_is_refused(auth_url):
    call(f"{auth_url}/register", {"name": "bob", "password": "sesame"})
    with pytest.raises(HTTPError, match="401"):
        call(f"{auth_url}/login", {"name": "bob", "password": "simsalabim"})


def test_a_name_is_taken_once(auth_url):
    call(f"{auth_url}/register", {"name": "eve", "password": "sesame"})
    with pytest.raises(HTTPError, match="409"):
        call(f"{auth_url}/register", {"name": "eve", "password": "other"})
