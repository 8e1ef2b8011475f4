"""Reader of Dockerfiles: their instructions, and what in them only BuildKit understands. Pure.

Grammar: BuildKit's frontend/dockerfile/parser; versions: Docker's "Dockerfile reference" and the release notes of
docker/dockerfile.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

from msgspec import Struct

Version = tuple[int, int]

_DIRECTIVE = re.compile(r"#\s*([A-Za-z][A-Za-z0-9]*)\s*=\s*(.+?)\s*")
# A word of a shell: quotes keep blanks together.
_WORD = re.compile(r"""(?:\\.|"(?:\\.|[^"\\])*"|'[^']*'|[^\s"'\\]|["'\\])+""", re.DOTALL)
_HEREDOC = re.compile(r"""\d*<<(-?)(["']?)([^<\s"']+)\2""")
_AUTOMATIC = "(?:BUILD|TARGET)(?:PLATFORM|OS|ARCH|VARIANT)"
_USED = re.compile(rf"\$\{{?({_AUTOMATIC})\b")
_DECLARED = re.compile(rf"(?:^|\s)({_AUTOMATIC})(?=[\s=]|$)")
_TARGET_STAGE = re.compile(r"(?:^|\s)(TARGETSTAGE)(?=[\s=]|$)")
# As BuildKit's ParseGitRef has it: an address of git, or one of HTTP whose path ends in .git.
_GIT = re.compile(r"(?:git://|ssh://|[\w.-]+@[\w.-]+:|github\.com/)\S+|https?://[^\s?#]+\.git(?:[?#]\S*)?")
_GIT_QUERY = re.compile(r"[^#]+\.git\?.*")

# Flags that only BuildKit knows, each with the version of its Dockerfile front end that is the first to know it.
_FLAGS: dict[str, dict[str, Version]] = {
    "RUN": {"--mount": (1, 2), "--network": (1, 3), "--security": (1, 20), "--device": (1, 20)},
    "COPY": {"--chmod": (1, 2), "--link": (1, 4), "--exclude": (1, 19), "--parents": (1, 20)},
    "ADD": {
        "--chmod": (1, 2),
        "--link": (1, 4),
        "--checksum": (1, 6),
        "--keep-git-dir": (1, 6),
        "--unpack": (1, 17),
        "--exclude": (1, 19),
    },
    "HEALTHCHECK": {"--start-interval": (1, 6)},
}
# What flags that are known take only later: older ones leave it out, or take it literally, mostly without a word.
_COPYING = ("COPY", "ADD")
_VALUES: tuple[tuple[tuple[str, ...], str, re.Pattern[str], Version], ...] = (
    (_COPYING, "--chmod", re.compile(r".*\$.*"), (1, 10)),
    (_COPYING, "--chmod", re.compile(r"[^$]*[a-zA-Z=+-][^$]*"), (1, 14)),
    (("RUN",), "--mount", re.compile(r".*\$.*"), (1, 3)),
    (("RUN",), "--mount", re.compile(r"(?:.*,)?env=.*"), (1, 10)),
)
# Within ${}: substitution and trimming, and the variants without a colon. In RUN and CMD a shell reads them.
_EXPANDING = frozenset(
    {"ADD", "ARG", "COPY", "ENV", "EXPOSE", "FROM", "LABEL", "STOPSIGNAL", "USER", "VOLUME", "WORKDIR"}
)
_MODIFIERS: tuple[tuple[re.Pattern[str], Version], ...] = (
    (re.compile(r"(?<!\\)\$\{\w+[#%/][^}]*\}"), (1, 7)),
    (re.compile(r"(?<!\\)\$\{\w+[-+?][^}]*\}"), (1, 6)),
)
_SINCE_HEREDOC, _SINCE_GIT, _SINCE_GIT_QUERY, _SINCE_TARGET_STAGE = (1, 4), (1, 6), (1, 18), (1, 11)
_SINCE_CHMOD_OF_ADDRESS = (1, 3)
_ANY: Version = (1, 0)
_WITH_HEREDOCS = ("RUN", "COPY", "ADD")


class Need(Struct, frozen=True, kw_only=True):
    """A part of a Dockerfile that only BuildKit understands, and the first version of its front end that does."""

    line: int
    word: str
    since: Version = _ANY
    is_heredoc: bool = False
    is_git: bool = False


class Instruction(Struct, frozen=True, kw_only=True):
    """An instruction without its line breaks; `heredocs` are the names of the here-documents behind it."""

    line: int
    verb: str
    rest: str
    heredocs: tuple[str, ...] = ()

    @property
    def flags(self) -> tuple[str, ...]:
        """The flags in front of its arguments."""
        found = []
        for word in self.rest.split():
            if not word.startswith("--"):
                break
            found.append(word)
        return tuple(found)


class Dockerfile(Struct, frozen=True, kw_only=True):
    """A Dockerfile as far as it matters which builder reads it; `syntax` is the image of a front end of its own."""

    instructions: tuple[Instruction, ...]
    needs: tuple[Need, ...]
    syntax: str = ""
    has_directives: bool = False


def read_dockerfile(text: str) -> Dockerfile:
    """Read a Dockerfile; what is wrong with it is left to the engine to say."""
    lines = text.splitlines()
    directives = dict(_read_directives(lines))
    syntax, line = directives.get("syntax", ("", 0))
    instructions = tuple(_read_instructions(lines, directives.get("escape", ("\\", 0))[0]))
    needs = [Need(line=line, word=f"# syntax={syntax}")] if syntax else []
    if "check" in directives:
        check, at = directives["check"]
        needs.append(Need(line=at, word=f"# check={check}"))
    needs += [need for instruction in instructions for need in _find_needs(instruction)]
    return Dockerfile(
        instructions=instructions,
        needs=tuple(sorted(needs, key=lambda need: need.line)),
        syntax=syntax,
        has_directives=bool(directives),
    )


def without_syntax(text: str) -> str:
    """The same Dockerfile without its `# syntax=` line, where possible with its other lines where they were."""
    lines = text.splitlines(keepends=True)
    found = dict(_read_directives(text.splitlines()))
    if "syntax" in found:
        at = found["syntax"][1]
        # An empty line would end the directives, so that those behind it would no longer count.
        is_last = at == max(line for _, line in found.values())
        lines[at - 1] = "\n" if is_last else ""
    return "".join(lines)


def _read_directives(lines: list[str]) -> Iterator[tuple[str, tuple[str, int]]]:
    """Yield the directives at the top: anything else, an empty line too, ends them."""
    seen = set()
    for number, line in enumerate(lines, start=1):
        if number == 1 and line.startswith("#!"):
            continue
        match = _DIRECTIVE.fullmatch(line.strip())
        name = match[1].lower() if match else ""
        if not match or name in seen or name not in ("syntax", "escape", "check"):
            return
        seen.add(name)
        yield name, (match[2], number)


def _read_instructions(lines: list[str], escape: str) -> Iterator[Instruction]:
    continued = re.compile(re.escape(escape) + r"[ \t]*$")
    numbered = iter(enumerate(lines, start=1))
    for number, line in numbered:
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        while continued.search(text):
            text = continued.sub("", text)
            more = next((found for _, found in numbered if found.strip() and not found.strip().startswith("#")), "")
            text += more.rstrip()
        instruction = _parse(number, text)
        yield instruction
        for name in instruction.heredocs:
            next((found for _, found in numbered if found.lstrip("\t") == name), None)


def _parse(number: int, text: str) -> Instruction:
    verb, _, rest = text.partition(" ") if " " in text.split("\t", maxsplit=1)[0] else text.partition("\t")
    if verb.upper() == "ONBUILD":
        return _parse(number, rest.strip())
    verb, rest = verb.upper(), rest.strip()
    heredocs: tuple[str, ...] = ()
    if verb in _WITH_HEREDOCS and not _is_json(rest):
        heredocs = tuple(m[3] for word in _WORD.findall(rest) if (m := _HEREDOC.fullmatch(word)))
    return Instruction(line=number, verb=verb, rest=rest, heredocs=heredocs)


def _is_json(text: str) -> bool:
    """True for a list of words: what merely begins with a bracket is a command of the shell."""
    if not text.startswith("["):
        return False
    try:
        return isinstance(json.loads(text), list)
    except ValueError:
        return False


def _find_needs(instruction: Instruction) -> Iterator[Need]:
    line, verb, rest = instruction.line, instruction.verb, instruction.rest
    yield from _find_flags(instruction)
    for name in instruction.heredocs:
        yield Need(line=line, word=f"{verb} <<{name}", since=_SINCE_HEREDOC, is_heredoc=True)
    if verb == "ADD":
        yield from _find_addresses(instruction)
    names = [*_USED.findall(rest), *(_DECLARED.findall(rest) if verb == "ARG" else ())]
    yield from (Need(line=line, word=name) for name in dict.fromkeys(names))
    if verb == "ARG":
        yield from (Need(line=line, word=n, since=_SINCE_TARGET_STAGE) for n in _TARGET_STAGE.findall(rest))
    if verb in _EXPANDING:
        read = re.sub(r"'[^']*'", "", rest)
        for modifier, since in _MODIFIERS:
            yield from (Need(line=line, word=f"{verb} {word}", since=since) for word in modifier.findall(read))


def _find_flags(instruction: Instruction) -> Iterator[Need]:
    verb = instruction.verb
    for flag in instruction.flags:
        name, _, value = flag.replace('"', "").partition("=")
        if name in _FLAGS.get(verb, ()):
            yield Need(line=instruction.line, word=f"{verb} {name}", since=_FLAGS[verb][name])
        for verbs, known, pattern, since in _VALUES:
            if verb in verbs and name == known and pattern.fullmatch(value):
                yield Need(line=instruction.line, word=f"{verb} {name}={value}", since=since)


def _find_addresses(instruction: Instruction) -> Iterator[Need]:
    """Needs of what an ADD fetches."""
    line, rest = instruction.line, instruction.rest
    for source in (word.strip("\"',[]") for word in rest.split()):
        if _GIT.fullmatch(source):
            since = _SINCE_GIT_QUERY if _GIT_QUERY.fullmatch(source) else _SINCE_GIT
            yield Need(line=line, word=f"ADD {source}", since=since, is_git=True)
        elif source.startswith(("http://", "https://")) and "--chmod" in rest:
            yield Need(line=line, word=f"ADD --chmod of {source}", since=_SINCE_CHMOD_OF_ADDRESS)
