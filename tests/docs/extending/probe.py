"""A project that uses the probe of docs/extending.md."""

import pytest
from fakes.programs import IMAGE, program

from pytest_isolate import json_log, service
from pytest_isolate.declarations.probes import parse_probes

SAYS = program("say starting", 'say {"msg": "started"}', "serve 80")
web = service(IMAGE, command=SAYS, port=80, ready={"json_log": "started"})


def test_it_is_waited_for(web):
    assert '"started"' in web.logs()


def test_python_and_toml_are_the_same():
    assert parse_probes({"json_log": {"value": "up"}}) == parse_probes({"json_log": "up"}) == (json_log("up"),)


def test_a_wrong_one_is_refused():
    with pytest.raises(ValueError, match="needs a value"):
        parse_probes({"json_log": {}})
    with pytest.raises(ValueError, match=r"is not a probe") as raised:
        parse_probes("started")
    assert "json_log('started')" in raised.value.valid
