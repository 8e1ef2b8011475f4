"""Fresh data in Redis and Valkey: their numbered databases, copied key by key within the server.

Which number is whose is written down in the server's own last database, and changed only by scripts, which the server
carries out one at a time: so two workers can never be given the same number.
"""

from __future__ import annotations

from collections.abc import Sequence

from pytest_isolate.engine.api import Engine
from pytest_isolate.running.containers.running import RunningInstance
from pytest_isolate.running.data.backends.base import BackendError, DataBackend, closed_on_failure, common_variables
from pytest_isolate.running.data.backends.client import Client
from pytest_isolate.running.data.names import PRISTINE

_CLIENT = 'exec "$(command -v redis-cli || command -v valkey-cli)" "$@"'
# Each script begins where the book is: a table of names and numbers, and the number that was given away last.
_BOOK = "local name, last, base = ARGV[1], tonumber(ARGV[2]), ARGV[3]; redis.call('SELECT', last); "
_TAKE_NUMBER = """
local taken, number = {[base] = true}, redis.call('HGET', 'isolate:numbers', name)
if not number then
  for _, other in ipairs(redis.call('HVALS', 'isolate:numbers')) do taken[other] = true end
  local from = tonumber(redis.call('GET', 'isolate:last') or 0)
  for step = 1, last do
    local try = tostring((from + step) % last)
    if not taken[try] then number = try; break end
  end
  if not number then return redis.error_reply('ERR all ' .. (last + 1) .. ' databases are in use') end
  redis.call('HSET', 'isolate:numbers', name, number); redis.call('SET', 'isolate:last', number)
end
redis.call('SELECT', number); redis.call('FLUSHDB')
"""
_COPY = """
redis.call('SELECT', source)
for _, key in ipairs(redis.call('KEYS', '*')) do
  local copied = redis.pcall('COPY', key, key, 'DB', number)
  if type(copied) == 'table' and copied.err then
    local value, ttl = redis.call('DUMP', key), redis.call('PTTL', key)
    redis.call('SELECT', number); redis.call('RESTORE', key, math.max(ttl, 0), value); redis.call('SELECT', source)
  end
end
return number
"""
_FIND_SOURCE = """
local source = redis.call('HGET', 'isolate:numbers', ARGV[4])
if not source then return redis.error_reply('ERR the data of all tests is gone: has one of them said FLUSHALL?') end
"""
_DROP = """
local number = redis.call('HGET', 'isolate:numbers', name)
if not number then return 0 end
redis.call('SELECT', number); redis.call('FLUSHDB')
redis.call('SELECT', last); return redis.call('HDEL', 'isolate:numbers', name)
"""
_SIZE = "redis.call('SELECT', ARGV[4]); return redis.call('DBSIZE')"
_EMPTY_ALL = """
local taken = {[tostring(last)] = true}
for _, other in ipairs(redis.call('HVALS', 'isolate:numbers')) do taken[other] = true end
for used in string.gmatch(redis.call('INFO', 'keyspace'), 'db(%d+):') do
  if not taken[used] then redis.call('SELECT', used); redis.call('FLUSHDB') end
end
"""
_RESTORE = """
local number = base
"""


def environment(running: RunningInstance, database: str) -> dict[str, str]:
    """Environment variables that tell a command where a database is."""
    return {**common_variables(running, database), "REDISCLI_AUTH": running.view.password or ""}


class RedisBackend(DataBackend):
    """One redis-cli, which stays open."""

    def __init__(self, engine: Engine, running: RunningInstance) -> None:
        self._running = running
        view = running.view
        argv = ["sh", "-c", _CLIENT, "redis-cli", "-h", "127.0.0.1", "-p", str(view.spec.ports[0])]
        argv += ["--user", view.spec.user] if view.spec.user and view.password else []
        self._client = Client(engine, running.container_id, argv, environment(running, self._base))
        with closed_on_failure(self._client):
            self._last = int(self._run("CONFIG GET databases")[1]) - 1
            self._begins_empty = self._is_pristine_empty()

    @property
    def room(self) -> int:
        """All databases but the declared one, the pristine one and that of the book."""
        return self._last - 2

    def save_pristine(self) -> None:
        if PRISTINE not in self._numbers():
            source = f"local source = '{self._base}'"
            self._script(_TAKE_NUMBER + source + _COPY, PRISTINE)
            self._begins_empty = self._is_pristine_empty()

    def finish_template(self, name: str) -> None:
        """Disconnect init from its number, which no test is given."""
        self._disconnect(self._numbers()[name])

    def create(self, template: str, name: str) -> str:
        """A true copy of a template, with the time that each key has left."""
        return self._script(_FIND_SOURCE + _TAKE_NUMBER + _COPY, name, template)[0]

    def drop(self, name: str) -> None:
        """Give its number back, empty. Who is connected to it is disconnected: the number will be another one's."""
        number = self._numbers().get(name)
        if number is not None:
            self._disconnect(number)
            self._script(_DROP, name)

    def databases(self) -> Sequence[str]:
        return [*self._numbers()]

    def prepare_reset(self) -> None:
        pass  # what is emptied and filled again is in use until then

    def reset(self) -> None:
        """Empty every database that is no copy, and restore the declared one. Connections stay open."""
        # Where there is nothing to restore, a test may even have said FLUSHALL.
        self._script(_EMPTY_ALL if self._begins_empty else _FIND_SOURCE + _EMPTY_ALL + _RESTORE + _COPY, "", PRISTINE)

    def close(self) -> None:
        self._client.close()

    @property
    def _base(self) -> str:
        return self._running.spec.database or "0"

    def _is_pristine_empty(self) -> bool:
        number = self._numbers().get(PRISTINE)
        return number is not None and self._script(_SIZE, "", number) == ["0"]

    def _numbers(self) -> dict[str, str]:
        lines = self._script("return redis.call('HGETALL', 'isolate:numbers')", "")
        return dict(zip(lines[::2], lines[1::2], strict=False))

    def _disconnect(self, number: str) -> None:
        for line in self._run("CLIENT LIST"):
            facts = dict(word.split("=", 1) for word in line.split() if "=" in word)
            if facts.get("db") == number:
                self._run(f"CLIENT KILL ID {facts['id']}", missing_is_fine=True)

    def _script(self, text: str, name: str, template: str = "") -> list[str]:
        script = " ".join((_BOOK + text).split("\n")).replace('"', '\\"')
        return self._run(f'EVAL "{script}" 0 "{name}" {self._last} {self._base} "{template}"')

    def _run(self, command: str, *, missing_is_fine: bool = False) -> list[str]:
        lines = [line for line in self._client.ask(f"{command}\nECHO {self._client.sentinel}\n") if line]
        refusal = next((line for line in lines if line.startswith(("ERR ", "NOAUTH", "WRONGPASS", "NOPERM"))), "")
        if refusal and not missing_is_fine:
            raise BackendError(refusal)
        return lines
