import anyio
import pytest

pytestmark = pytest.mark.anyio


async def get(service):
    async with await anyio.connect_tcp(service.host, service.port) as stream:
        await stream.send(b"GET / HTTP/1.0\r\n\r\n")
        answer = b""
        async for piece in stream:
            answer += piece
    return answer.decode().rpartition("\r\n\r\n")[2]


@pytest.fixture
async def greeting(web):
    return await get(web)


@pytest.fixture(scope="module", params=["asyncio", "trio"])
def anyio_backend(request):
    return request.param


@pytest.fixture(scope="module")
async def first_greeting(web):
    return await get(web)


async def test_service_in_an_async_test(web):
    assert await get(web) == "hello"


async def test_service_in_an_async_fixture(greeting, first_greeting):
    assert greeting == first_greeting == "hello"


async def test_service_that_is_asked_for_within_a_loop(request):
    assert await get(request.getfixturevalue("web")) == "hello"
