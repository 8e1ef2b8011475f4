"""A project that uses the option of docs/extending.md: it is run with --isolate-note=nightly."""

from fakes.programs import IMAGE, program

from pytest_isolate import service
from pytest_isolate.plugin.hooks import pytest_report_header
from pytest_isolate.plugin.options import build_settings

web = service(IMAGE, command=program("serve 80"), port=80)


def test_it_is_in_the_settings_and_shown(web, pytestconfig):
    assert build_settings(pytestconfig).note == "nightly"
    assert pytest_report_header(pytestconfig) == "nightly"


def test_a_configuration_file_can_have_it(pytestconfig, monkeypatch):
    assert pytestconfig.getini("isolate_note") == ""
    monkeypatch.setattr(pytestconfig.option, "isolate_note", None)
    monkeypatch.setitem(pytestconfig._inicache, "isolate_note", "weekly")
    assert build_settings(pytestconfig).note == "weekly"
