"""The pages describe all there is, and nothing that is not."""

from __future__ import annotations

import re
from inspect import signature

import pytest
from msgspec.structs import fields

from docs.pages import CHECKED, DOCS, ERROR_PAGES, ROOT, first_cells, headings, section
from pytest_isolate import errors
from pytest_isolate.cli.images import images
from pytest_isolate.cli.main import main as commands
from pytest_isolate.declarations.keys import SERVICE_KEYS, STACK_KEYS
from pytest_isolate.engine.api import ExecResult
from pytest_isolate.model.fresh import COPY_METHODS
from pytest_isolate.model.location import Location
from pytest_isolate.model.probes import PROBES
from pytest_isolate.model.service import MIB, ServiceSpec
from pytest_isolate.plugin import hookspecs
from pytest_isolate.plugin.options import DEFAULT_BIND, DEFAULT_SUBNETS
from pytest_isolate.presets.catalogue import PRESETS
from pytest_isolate.running.containers.handle import Inside, Service
from pytest_isolate.running.containers.security import memory_limit
from pytest_isolate.running.ownership import runs

PAGES = ("declaring", "presets", "handle", "options", "faults")
DECLARING, PRESETS_PAGE, HANDLE, OPTIONS, FAULTS = (DOCS / f"{name}.md" for name in PAGES)
COMMAND = DOCS / "command.md"


@pytest.fixture
def help_text(pytester: pytest.Pytester) -> str:
    return pytester.runpytest_inprocess("--help").stdout.str()


def options_in(text: str) -> set[str]:
    return set(re.findall(r"--isolate(?:-[a-z-]*[a-z])?\b", text))


def names(cells: list[str]) -> set[str]:
    """`port_of(inner)` is `port_of`."""
    return {cell.split("(")[0] for cell in cells}


def test_every_option_is_described(help_text: str) -> None:
    described = {cell.split("=")[0] for cell in first_cells(section(OPTIONS, "Command line"))}
    assert described == options_in(help_text)


@pytest.mark.parametrize("page", [*CHECKED, *ERROR_PAGES], ids=lambda page: page.name)
def test_every_option_that_is_named_exists(help_text: str, page: object) -> None:
    assert options_in(page.read_text()) <= options_in(help_text)


def test_every_key_of_the_configuration_is_described(help_text: str) -> None:
    existing = set(re.findall(r"^  (isolate\w*) \(", help_text, re.MULTILINE))
    assert set(first_cells(section(OPTIONS, "Configuration file"))) == existing


def test_defaults_of_options_are_right() -> None:
    table = section(OPTIONS, "Command line")
    assert f"`{DEFAULT_SUBNETS}` |" in table
    assert f"`{DEFAULT_BIND}` |" in table


def test_every_hook_is_described() -> None:
    existing = {name for name in vars(hookspecs) if name.startswith("pytest_")}
    assert names(first_cells(section(OPTIONS, "Hooks"))) == existing


def test_every_key_of_a_service_is_described() -> None:
    described = first_cells(section(DECLARING, "Keys of a service"))
    assert sorted(described) == sorted(SERVICE_KEYS)


def test_every_option_of_a_stack_is_described() -> None:
    assert sorted(first_cells(section(DECLARING, "stack()"))) == sorted(STACK_KEYS)


def test_defaults_of_keys_are_right() -> None:
    text = section(DECLARING, "Keys of a service")
    defaults = dict(re.findall(r"^\| `(\w+)` \| .* \| ([^|]+) \|$", text, re.MULTILINE))
    spec = ServiceSpec(name="x", location=Location(file=""))
    assert memory_limit(spec) == 2048 * MIB
    assert defaults["memory"] == '`"2g"`'
    assert defaults["timeout"] == f"`{spec.timeout_s:.0f}`"
    assert defaults["pids"] == f"`{spec.pids}`"
    assert defaults["scope"] == f'`"{spec.scope.word}"`'
    assert defaults["share"] == f'`"{spec.share}"`'


def test_every_preset_is_described() -> None:
    assert names(first_cells(section(DECLARING, "Presets"))) >= set(PRESETS)
    for name, preset in PRESETS.items():
        values = preset().layers[0].values
        row = next(line for line in section(DECLARING, "Presets").splitlines() if line.startswith(f"| `{name}("))
        who = ", ".join(f"`{values[key]}`" for key in ("user", "database") if key in values) or "none"
        assert f"| `{values['image']}` | {values['port']} | {who} | `{values['url'].partition(':')[0]}://...` |" in row


def test_every_preset_has_its_section() -> None:
    assert [heading for heading in headings(PRESETS_PAGE) if heading in PRESETS] == list(
        dict.fromkeys(headings(PRESETS_PAGE))
    )[1:-1]
    for name in PRESETS:
        text = section(PRESETS_PAGE, name)
        image = preset_image(name)
        assert f"eant for `{image}`" in text, f"{name} does not say which image it is for"
        assert "ested with" in text


def preset_image(name: str) -> str:
    """The publisher's image of a preset, without its tag."""
    return str(PRESETS[name]().layers[0].values["image"]).partition(":")[0]


def test_every_probe_is_described() -> None:
    assert names(first_cells(section(DECLARING, "Probes"))) == set(PROBES)


def test_every_way_to_copy_data_is_described() -> None:
    described = first_cells(section(DOCS / "fresh.md", "What can be copied"))
    assert {name.strip('"') for name in described if name.startswith('"')} == set(COPY_METHODS)


def test_every_member_of_a_service_is_described() -> None:
    instance = Service(None, None, image="", container_id="")
    existing = {name for name in [*vars(Service), *vars(instance)] if not name.startswith("_")}
    assert names(first_cells(section(HANDLE, "Service"))) == existing


def test_every_key_of_slow_is_described() -> None:
    existing = [name for name in signature(Service.slow).parameters if name != "self"]
    rows = re.findall(r"^\| `(\w+)` \|", section(FAULTS, "slow()"), re.MULTILINE)
    assert rows == existing


def test_every_member_of_inside_and_of_a_result_is_described() -> None:
    assert set(first_cells(section(HANDLE, "Inside"))) == {n for n in vars(Inside) if not n.startswith("_")}
    assert set(first_cells(section(HANDLE, "ExecResult"))) == {field.name for field in fields(ExecResult)}


def test_every_command_is_described() -> None:
    described = {
        cell.split()[1] for cell in re.findall(r"^\| `(pytest-isolate .*?)` \|", COMMAND.read_text(), re.MULTILINE)
    }
    assert described == set(commands.commands)


def test_every_command_about_images_is_described() -> None:
    assert "|".join(images.commands) == "save|load|list"
    for name in images.commands:
        assert f"- `{name} DIR" in section(COMMAND, "Images in a folder")


def test_every_option_of_the_commands_is_described() -> None:
    text = COMMAND.read_text() + (DOCS / "sharing.md").read_text()
    for name, command in {**commands.commands, **images.commands}.items():
        for option in (opt for p in command.params for opt in p.opts if opt.startswith("--")):
            short = next((o for p in command.params if option in p.opts for o in p.opts if len(o) == 2), option)
            assert option in text or f"{name} {short}" in text, f"{name} {option}"


def test_every_check_of_doctor_is_described() -> None:
    source = (ROOT / "pytest_isolate" / "running" / "doctor" / "checks.py").read_text()
    existing = set(re.findall(r'_judge\(\s*"([a-z]+)"', source)) | {"disk (engine)", "disk (temp)"}
    assert set(first_cells(section(COMMAND, "doctor"))) == existing


def test_every_state_of_a_run_is_described() -> None:
    states = {runs.UP, runs.ALIVE, runs.KEPT, runs.DEAD, runs.UNKNOWN}
    assert set(first_cells(section(COMMAND, "What is on the engine"))) == states


def test_every_error_is_described() -> None:
    existing = {
        name
        for name, value in vars(errors).items()
        if isinstance(value, type) and issubclass(value, errors.IsolateError)
    }
    described = {heading for page in ERROR_PAGES for heading in headings(page)}
    assert {heading for heading in described if re.fullmatch(r"[A-Z]\w+[a-z][A-Z]\w+", heading)} == existing


def test_every_module_that_is_named_exists() -> None:
    text = (DOCS / "how-it-works.md").read_text()
    for path in re.findall(r"`([a-z_]+/[a-z_]+\.py)`", text):
        assert (ROOT / "pytest_isolate" / path).is_file(), path
