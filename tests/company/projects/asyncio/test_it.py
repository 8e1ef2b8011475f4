import asyncio

import pytest
import pytest_asyncio


async def get(service):
    reader, writer = await asyncio.open_connection(service.host, service.port)
    writer.write(b"GET / HTTP/1.0\r\n\r\n")
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    return answer.decode().rpartition("\r\n\r\n")[2]


@pytest_asyncio.fixture
async def greeting(web):
    return await get(web)


@pytest_asyncio.fixture(loop_scope="session", scope="session")
async def first_greeting(web):
    return await get(web)


@pytest.mark.asyncio
async def test_service_in_an_async_test(web):
    assert await get(web) == "hello"


@pytest.mark.asyncio
async def test_service_in_an_async_fixture(greeting, first_greeting):
    assert greeting == first_greeting == "hello"


@pytest.mark.asyncio
async def test_service_that_is_asked_for_within_a_loop(request):
    assert await get(request.getfixturevalue("web")) == "hello"


@pytest.mark.asyncio
async def test_copies_are_made_by_an_async_function(orders):
    assert orders.database != orders.base.database


@pytest.mark.asyncio
async def test_copy_that_is_asked_for_within_a_loop(request):
    assert request.getfixturevalue("orders").database


def test_the_state_is_cleaned_by_an_async_function(cleaned, noted):
    assert noted["resets"] == 0


def test_and_it_was(cleaned, noted):
    assert noted["resets"] == 1
