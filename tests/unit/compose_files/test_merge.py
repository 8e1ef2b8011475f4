"""Several Compose files as one: later ones over earlier ones, extends, include, profiles."""

from __future__ import annotations

from msgspec.structs import replace

from pytest_isolate.model.service import ServiceSpec
from unit.composing import CONFTEST, compose, specs, told, wrong

BASE = """
services:
  web:
    image: one
    command: first
    environment: {A: "1", B: "1"}
    ports: ["80:80"]
    expose: ["81"]
    volumes: ["data:/data", "./conf:/etc/conf"]
    healthcheck: {test: ["CMD", "one"], interval: 1s}
    dns: 192.0.2.1
    labels: ["a=1"]
    networks: {front: {aliases: [a]}}
    secrets: [pw]
  other: {image: two}
volumes: {data: , more: }
networks: {front: }
secrets: {pw: {environment: PW}}
"""


def both(over: str) -> ServiceSpec:
    files = {"over.yaml": over, "conf/x": "", "else/x": "", "cert": ""}
    return specs(BASE, "compose.yaml", "over.yaml", files=files, environ={"PW": "s"})["web"]


def test_a_later_file_replaces_texts_and_merges_tables() -> None:
    web = both("services: {web: {image: two, environment: [B=2, C=3], labels: {b: 2}, command: [x]}}")
    assert (web.image, web.command) == ("two", ("x",))
    assert web.env == (("A", "1"), ("B", "2"), ("C", "3"))
    assert web.container.labels == (("a", "1"), ("b", "2"))


def test_a_later_file_adds_to_lists() -> None:
    web = both("services: {web: {ports: ['443:443', '80:80'], expose: ['81', '82'], dns: [192.0.2.2]}}")
    assert web.ports == (80, 443, 81, 82)
    assert web.container.dns == ("192.0.2.1", "192.0.2.2")


def test_addresses_of_a_host_add_up() -> None:
    web = both("services: {web: {extra_hosts: ['h:192.0.2.1']}}")
    assert web.container.extra_hosts == (("h", "192.0.2.1"),)
    text = """
    services:
      web: {image: i, extra_hosts: {h: 192.0.2.1}}
      job: {extends: web, extra_hosts: ["h=192.0.2.2", "k=192.0.2.3"]}
    """
    assert specs(text)["job"].container.extra_hosts == (("h", "192.0.2.1"), ("h", "192.0.2.2"), ("k", "192.0.2.3"))


def test_what_is_mounted_at_one_place_is_the_later_ones() -> None:
    web = both("services: {web: {volumes: ['more:/data', './else:/etc/conf:ro', '/x']}}")
    assert dict(web.volumes) == {"more": "/data", "web-2": "/x", "/p/else": "/etc/conf:ro"}


def test_a_health_checks_test_is_replaced_and_the_rest_merged() -> None:
    web = both("services: {web: {healthcheck: {test: two, retries: 90}}}")
    assert web.ready[0].argv == ("/bin/sh", "-c", "two")
    assert web.timeout_s == 90 * 1 + 30


def test_secrets_of_one_source_are_merged() -> None:
    web = both("services: {web: {secrets: [{source: pw, mode: 0400}]}}")
    assert [(f.target, f.mode) for f in web.files if f.text == "s"] == [("/run/secrets/pw", 0o400)]


def test_reset_takes_out_and_override_replaces() -> None:
    over = """
    services:
      web:
        ports: !override ["8443:443"]
        expose: !reset []
        environment: {A: !reset null}
        healthcheck: !reset {}
      other: !reset null
    """
    web = both(over)
    assert (web.ports, web.env, web.ready) == ((443,), (("B", "1"),), ())
    found = specs(BASE, "compose.yaml", "o.yaml", files={"o.yaml": over, "conf/x": ""}, environ={"PW": "s"})
    assert list(found) == ["web"]


def test_nothing_changes_nothing() -> None:
    overs = ("services: {web: {image: , ports: , environment: }}", "services: {web: }", "{}")
    assert len({replace(both(over), location=CONFTEST) for over in overs}) == 1


def test_variables_are_filled_in_file_by_file() -> None:
    assert both("services: {web: {environment: {A: '$PW', PW: }}}").env == (("A", "s"), ("B", "1"), ("PW", "s"))


def test_a_service_extends_one_of_its_file_and_one_of_another() -> None:
    main = """
    services:
      web:
        extends: {file: common/base.yaml, service: app}
        environment: {B: "2"}
      job:
        extends: web
        command: work
    """
    base = """
    services:
      app:
        extends: {service: root}
        environment: [A=1, B=1]
        volumes: ["./conf:/conf:ro"]
        env_file: base.env
      root: {image: i, user: app}
    """
    files = {"common/base.yaml": base, "common/conf/x": "", "common/base.env": "C=3\n"}
    found = specs(main, files=files)
    for name in ("web", "job"):
        assert found[name].env == (("A", "1"), ("B", "2"), ("C", "3"))
        assert (found[name].image, found[name].container.user) == ("i", "app")
        assert found[name].volumes == (("/p/common/conf", "/conf:ro"),)
    assert found["job"].command == ("work",)


def test_what_cannot_be_extended_is_told() -> None:
    text = """\
    services:
      a: {extends: a, image: i}
      b: {extends: {service: nobody}, image: i}
      c: {extends: {file: gone.yaml, service: x}, image: i}
      d: {extends: {file: x.yaml}, image: i}
      e: {extends: f, image: i}
      f: {extends: e, image: i}
    """
    assert wrong(text) == [
        "compose.yaml:2: services.a.extends: the service 'a' extends itself",
        "compose.yaml:3: services.b.extends.service: there is no service 'nobody' in /p/compose.yaml",
        "compose.yaml:4: services.c.extends.file: /p/gone.yaml cannot be read: no such file or directory",
        "compose.yaml:5: services.d.extends: names no service",
        "compose.yaml:6: services.e.extends: the service 'e' extends itself",
        "compose.yaml:7: services.f.extends: the service 'f' extends itself",
    ]


def test_files_are_included_each_from_its_own_folder() -> None:
    main = """
    include:
      - db/compose.yaml
      - path: [mail/compose.yaml, mail/more.yaml]
        env_file: mail.env
        project_directory: .
    services:
      web: {image: i, depends_on: [db, mail]}
    """
    files = {
        "db/compose.yaml": "services: {db: {image: 'db:$TAG', user: $OWN, volumes: ['./init:/init']}}",
        ".env": "OWN=ours",
        "db/.env": "TAG=16\nOWN=theirs",
        "db/init/x": "",
        "mail/compose.yaml": "services: {mail: {image: 'mail:$TAG', volumes: ['./mail:/mail']}}",
        "mail/more.yaml": "services: {mail: {user: mail}}",
        "mail.env": "TAG=2",
    }
    found = specs(main, files=files)
    assert (found["db"].image, found["db"].volumes) == ("db:16", (("/p/db/init", "/init"),))
    assert found["db"].container.user == "ours"
    assert (found["mail"].image, found["mail"].volumes) == ("mail:2", (("/p/mail", "/mail"),))
    assert (found["mail"].container.user, found["web"].needs) == ("mail", ("db", "mail"))


def test_what_cannot_be_included_is_told() -> None:
    files = {"x.yaml": "include: [compose.yaml]\nservices: {web: {image: j}, own: {image: i}}"}
    text = "include: [gone.yaml, x.yaml]\nservices: {web: {image: i}}"
    assert wrong(text, files=files) == [
        "compose.yaml:1: include[0]: there is no file /p/gone.yaml",
        "x.yaml:1: include[0]: /p/compose.yaml includes itself",
    ]


def test_what_an_included_file_declares_may_be_changed_by_the_file_that_includes_it() -> None:
    base = "services: {web: {image: one, user: app, environment: {A: '1'}}}\nvolumes: {data: }\n"
    main = (
        "include: [base.yaml]\nservices: {web: {image: two, environment: {B: '2'}, volumes: ['data:/d']}}\n"
        "volumes: {data: }\n"
    )
    web = specs(main, files={"base.yaml": base})["web"]
    assert (web.image, web.container.user, dict(web.env)) == ("two", "app", {"A": "1", "B": "2"})
    assert web.volumes == (("data", "/d"),)


PROFILES = """\
services:
  web: {image: i}
  debug: {image: i, profiles: [debug, all]}
  tool: {image: i, profiles: [tools], depends_on: [debug]}
"""


def test_profiles_choose_services() -> None:
    assert list(specs(PROFILES)) == ["web"]
    assert list(specs(PROFILES, profiles="debug")) == ["web", "debug"]
    assert list(specs(PROFILES, profiles=["*"])) == ["web", "debug", "tool"]
    assert wrong(PROFILES, profiles=["tools"]) == [
        "compose.yaml:4: services.tool.depends_on[0]: the service 'debug' is in a profile that is not chosen"
    ]


CHOICE = """\
services:
  web: {image: i, depends_on: [db], links: ["mail:m"]}
  db: {image: i}
  mail: {image: i, depends_on: {queue: {condition: service_started}}}
  queue: {image: i}
  agent: {image: i, privileged: true, depends_on: [db]}
  tool: {image: i, profiles: [tools], depends_on: [db]}
"""


def test_single_services_may_be_chosen_with_what_they_need() -> None:
    assert list(specs(CHOICE, services="web")) == ["web", "db", "mail", "queue"]
    assert list(specs(CHOICE, services=["queue", "tool"])) == ["db", "queue", "tool"]
    assert wrong(CHOICE, services=["wbe"]) == [
        "conftest.py:3: compose.services: there is no service 'wbe', did you mean 'web'?"
    ]


def test_a_service_without_copies_is_none() -> None:
    assert list(specs("services: {a: {image: i}, b: {image: i, scale: 0}}")) == ["a"]
    assert list(specs("services: {a: {image: i}, b: {image: i, deploy: {replicas: 0}}}")) == ["a"]


def test_what_needs_a_service_without_copies_starts_without_it() -> None:
    composed = compose("services:\n  a: {image: i, depends_on: [b]}\n  b: {image: i, scale: 0}\n")
    assert told(composed.warnings) == [
        "compose.yaml:2: services.a.depends_on[0]: is left out: the service 'b' has no copies"
    ]


def test_a_stack_without_services_says_why() -> None:
    text = "services: {a: {image: i, profiles: [x, y]}, b: {image: i, profiles: [z]}}"
    (problem,) = compose(text).stack.problems
    assert problem.reason == "every service of these files is in a profile that is not chosen"
    assert problem.valid == "a (x, y), b (z)"
    reason = "no service of these files has any copies: scale or replicas is 0"
    assert wrong("services: {a: {image: i, scale: 0}}") == [f"conftest.py:3: compose: {reason}"]


def test_unknown_keys_at_the_top_are_told_and_those_of_others_are_not() -> None:
    text = "x-mine: {a: 1}\nversion: '3'\nservice: {a: {image: i}}\nservices: {a: {image: i, x-note: 1}}\n"
    assert wrong(text) == ["compose.yaml:3: service: unknown key 'service', did you mean 'services'?"]
    assert wrong("services: [a]") == ["compose.yaml:1: services: is a list"]
    assert wrong("services: {a: text}") == ["compose.yaml:1: services.a: is a text"]


def test_changes_come_on_top_and_stay_at_the_files_line() -> None:
    changes = {"db": {"ports": [5432], "env": {"A": None, "B": "2"}}}
    found = specs("services:\n  db: {image: i, environment: {A: '1'}}\n", changes=changes)
    assert (found["db"].ports, found["db"].env) == ((5432,), (("B", "2"),))
    assert str(found["db"].location) == "/p/compose.yaml:2"


def test_what_is_asked_wrongly_is_told_at_the_declaration() -> None:
    text = "services: {web: {image: i}}"
    reason = "unknown key 'profile', did you mean 'profiles'?"
    assert wrong(text, profile="x") == [f"conftest.py:3: compose.profile: {reason}"]
    assert wrong(text, unsupported="ignore") == ["conftest.py:3: compose.unsupported: 'ignore' is not a way to take it"]
    assert wrong(text, profiles=3) == ["conftest.py:3: compose.profiles: 3 is not a list of texts"]
    assert wrong(text, env="A=1") == ["conftest.py:3: compose.env: 'A=1' is not a table"]
    assert wrong(text, changes={"wbe": {}}) == [
        "conftest.py:3: compose.changes.wbe: there is no service 'wbe', did you mean 'web'?"
    ]
    assert wrong(text, changes={"web": 1}) == ["conftest.py:3: compose.changes.web: 1 does not say what changes"]


def test_options_of_a_stack_are_handed_on() -> None:
    stack = compose("services: {web: {image: i}}", scope="module", share="worker", ports="native").stack
    assert stack.options == {"ports": "native", "scope": "module", "share": "worker"}
    assert told(stack.problems) == []
