"""Rules for names, labels and keys, and the words that the server has for what breaks a rule."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

Errors = Iterator[tuple[str, str, str]]
"""Each is a field, a reason and a text."""
REQUIRED, INVALID, FORBIDDEN, TOO_LONG = (
    "FieldValueRequired",
    "FieldValueInvalid",
    "FieldValueForbidden",
    "FieldValueTooLong",
)
SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
SERVICE = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
VALUE = re.compile(r"(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?")
KEY = re.compile(r"([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]")
FILE = re.compile(r"[-._a-zA-Z0-9]+")
_START_AND_END = "and must start and end with an alphanumeric character"
_ANY = "alphanumeric characters, '-', '_' or '.'"


def _explain(pattern: re.Pattern[str], rule: str, *examples: str) -> str:
    shown = ",  or ".join(f"'{example}'" for example in examples)
    return f"{rule} (e.g. {shown}, regex used for validation is '{pattern.pattern}')"


SUBDOMAIN_TEXT = _explain(
    SUBDOMAIN,
    f"a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', {_START_AND_END}",
    "example.com",
)
LABEL_TEXT = _explain(
    LABEL,
    f"a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', {_START_AND_END}",
    *("my-name", "123-abc"),
)
SERVICE_TEXT = _explain(
    SERVICE,
    "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, "
    "and end with an alphanumeric character",
    *("my-name", "abc-123"),
)
VALUE_TEXT = _explain(
    VALUE,
    f"a valid label must be an empty string or consist of {_ANY}, {_START_AND_END}",
    *("MyValue", "my_value", "12345"),
)
KEY_TEXT = _explain(KEY, f"name part must consist of {_ANY}, {_START_AND_END}", "MyName", "my.name", "123-abc")
FILE_TEXT = _explain(FILE, f"a valid config key must consist of {_ANY}", "key.name", "KEY_NAME", "key-name")


def invalid(field: str, value: object, text: str) -> tuple[str, str, str]:
    shown = json.dumps(value, ensure_ascii=False) if isinstance(value, str) else str(value)
    return field, INVALID, f"Invalid value: {shown}: {text}"


def match(field: str, value: str, pattern: re.Pattern[str], text: str, most: int) -> Errors:
    if len(value) > most:
        yield invalid(field, value, f"must be no more than {most} {'bytes' if most == 63 else 'characters'}")
    if not pattern.fullmatch(value):
        yield invalid(field, value, text)


def check_key(field: str, key: str) -> Errors:
    prefix, slash, name = key.rpartition("/")
    if slash and not SUBDOMAIN.fullmatch(prefix):
        yield invalid(field, key, f"prefix part {SUBDOMAIN_TEXT}")
    if len(name) > 63:
        yield invalid(field, key, "name part must be no more than 63 bytes")
    if not KEY.fullmatch(name):
        yield invalid(field, key, KEY_TEXT)
