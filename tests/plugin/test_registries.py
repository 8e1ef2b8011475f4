"""Where images are fetched from, and when: options, keys, the environment and the configuration file."""

from __future__ import annotations

import pytest

from plugin.conftest import Project

WEB = "web = service('pullable:1', command=forever(){more})"
MIRRORED = "registry.invalid/pullable:1"


@pytest.fixture
def web(project: Project) -> Project:
    project.conftest(WEB.format(more=""))
    project.tests(f"def test_it(web): assert web.image == '{MIRRORED}'")
    return project


def pulled(project: Project) -> list[list[object]]:
    return project.journal.calls("pull_image")


def test_the_option_names_a_mirror(web: Project) -> None:
    web.run("--isolate-registry=registry.invalid").assert_outcomes(passed=1)
    assert pulled(web) == [[MIRRORED]]


def test_the_environment_names_a_mirror(web: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTEST_ISOLATE_REGISTRY", "ghcr.io=other.invalid registry.invalid")
    web.run().assert_outcomes(passed=1)


def test_the_file_names_a_mirror_and_the_command_line_wins(web: Project) -> None:
    web.write("pytest.ini", "[pytest]\nisolate_registry =\n  ghcr.io=other.invalid\n  registry.invalid\n")
    web.run().assert_outcomes(passed=1)
    web.run("--isolate-registry=docker.io=else.invalid").assert_outcomes(errors=1)
    assert pulled(web) == [[MIRRORED], ["else.invalid/pullable:1"]]


def test_a_variant_comes_from_the_mirror_too(web: Project) -> None:
    web.conftest(
        "web = service(IMAGE, command=forever())",
        "versions = variants(web={'a': {'image': 'pullable:1'}})",
    )
    web.run("--isolate-registry=registry.invalid").assert_outcomes(passed=1)
    assert pulled(web) == [[MIRRORED]]


def test_never_is_an_error_that_says_what_to_do(web: Project) -> None:
    result = web.run("--isolate-registry=registry.invalid", "--isolate-pull=never")
    result.assert_outcomes(errors=1)
    assert f"image {MIRRORED} is not on the engine, and is not to be pulled" in result.stdout.str()
    assert "pulling or building first" not in result.stdout.str()
    assert pulled(web) == []


def test_what_a_service_says_wins(web: Project) -> None:
    web.conftest(f"web = service('{MIRRORED}', command=forever(), pull='missing', platform='linux/arm64')")
    web.run("--isolate-pull=never", "--isolate-platform=linux/amd64").assert_outcomes(passed=1)
    assert pulled(web) == [[MIRRORED, "linux/arm64"]]


def test_the_file_says_when_and_for_which_platform(project: Project) -> None:
    project.write("pytest.ini", "[pytest]\nisolate_pull = always\nisolate_platform = linux/amd64\n")
    project.conftest("a = service(PULLABLE, command=forever())\nb = service(a, env={'X': 1})")
    project.tests("def test_one(a, b): pass\ndef test_two(a): pass")
    project.run().assert_outcomes(passed=2)
    assert pulled(project) == [[MIRRORED, "linux/amd64"]]
    (first, _) = project.journal.calls("create_container")
    assert first[0]["image"].startswith("sha256:")


def test_a_key_that_says_nothing_valid_is_answered_with_what_is(project: Project) -> None:
    project.conftest("web = service(IMAGE, pull='allways', platform='arm')")
    project.tests("def test_it(web): pass")
    text = project.run().stderr.str()
    assert "web.platform: 'arm' is not a platform\n  valid  such as linux/amd64, linux/arm64 or linux/arm/v7" in text
    assert "web.pull: 'allways' does not say when to pull, did you mean 'always'?\n  valid  missing" in text
