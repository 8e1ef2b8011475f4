import asyncio

import pytest
from fakes.programs import IMAGE, program

from pytest_isolate import fresh, http, postgres, service

web = service(IMAGE, command=program("serve 8000 hello"), port=8000, ready=http("/"), timeout=20)
db = service(
    postgres(image=IMAGE, command=program("serve 5432"), ready=http("/"), snapshot=None, password="x"), timeout=20
)
NOTED = {"inits": 0, "resets": 0}


async def migrate(handle):
    await asyncio.sleep(0)
    NOTED["inits"] += 1


async def clean(handle):
    await asyncio.sleep(0)
    NOTED["resets"] += 1


orders = fresh(db, init=migrate)
cleaned = service(web, reset=clean)


@pytest.fixture(scope="session")
def noted():
    return NOTED
