"""Dockerfiles: what only BuildKit understands, by line and word, and what merely looks like it."""

from __future__ import annotations

import pytest

from pytest_isolate.engine.dockerfile import read_dockerfile, without_syntax


def needs(text: str) -> list[tuple[int, str]]:
    return [(need.line, need.word) for need in read_dockerfile(text).needs]


@pytest.mark.parametrize(
    ("line", "word"),
    [
        ("RUN --mount=type=cache,target=/var/cache pip install x", "RUN --mount"),
        ("run  --mount=type=secret,id=token cat /run/secrets/token", "RUN --mount"),
        ("RUN --network=none true", "RUN --network"),
        ("RUN --network=none --mount=type=tmpfs,target=/t true", "RUN --network"),
        ("RUN --security=insecure true", "RUN --security"),
        ("ONBUILD RUN --mount=type=cache,target=/c true", "RUN --mount"),
        ("RUN <<EOF\nset -e\nEOF", "RUN <<EOF"),
        ("RUN <<-'EOF'\n\tset -e\n\tEOF", "RUN <<EOF"),
        ("RUN python3 <<EOF > /out\nprint(1)\nEOF", "RUN <<EOF"),
        ("RUN cat 3<<EOF\nx\nEOF", "RUN <<EOF"),
        ("COPY <<EOF /etc/app.conf\nPORT=1\nEOF", "COPY <<EOF"),
        ('COPY <<"END" /etc/app.conf\nPORT=1\nEND', "COPY <<END"),
        ("ADD <<EOF /etc/app.conf\nPORT=1\nEOF", "ADD <<EOF"),
        ("COPY --link a /a", "COPY --link"),
        ("COPY --link=true --from=x a /a", "COPY --link"),
        ("COPY --from=x --chmod=755 a /a", "COPY --chmod"),
        ("COPY --parents a/b /c/", "COPY --parents"),
        ("COPY --exclude=*.md . /c/", "COPY --exclude"),
        ("ADD --checksum=sha256:00 https://example.org/a /a", "ADD --checksum"),
        ("ADD --keep-git-dir=true https://example.org/a.git#v1 /a", "ADD --keep-git-dir"),
        ("ADD https://example.org/a.git /a", "ADD https://example.org/a.git"),
        ("ADD https://example.org/a.git#v1:docs /a", "ADD https://example.org/a.git#v1:docs"),
        ("ADD git@example.org:team/a.git /a", "ADD git@example.org:team/a.git"),
        ('ADD ["git://example.org/a", "/a"]', "ADD git://example.org/a"),
        ("ARG TARGETARCH", "TARGETARCH"),
        ("ARG A TARGETPLATFORM=linux/arm64", "TARGETPLATFORM"),
        ("FROM --platform=$BUILDPLATFORM debian", "BUILDPLATFORM"),
        ("FROM --platform=${BUILDPLATFORM:-linux/amd64} debian", "BUILDPLATFORM"),
        ("RUN make \\\n  # a comment\n\n  GOARCH=$TARGETARCH", "TARGETARCH"),
    ],
)
def test_each_word_of_buildkit_is_found_with_its_line(line: str, word: str) -> None:
    assert needs(f"FROM debian\n\n{line}\n")[0] == (3, word)


@pytest.mark.parametrize(
    "line",
    [
        "RUN echo --mount=type=cache",
        "RUN cat <<< text",
        "RUN echo $((1<<3)) $((1 << 3))",
        'RUN echo "a <<EOF"',
        "RUN echo 'see: <<EOF '",
        'RUN ["cat", "<<EOF"]',
        "COPY --from=build --chown=app:app a /a",
        "ADD https://example.org/a.tar.gz /a",
        "ADD https://example.org/a.git.tar /a",
        "ARG TARGET",
        "ARG MY_TARGETARCH",
        "RUN echo TARGETARCH",
        "# RUN --mount=type=cache true",
        "CMD cat <<EOF",
        "RUN true \\\n  --mount=type=cache",
        "# syntax=docker/dockerfile:1",  # behind an instruction it is a comment
    ],
)
def test_what_only_looks_like_it_is_not(line: str) -> None:
    assert needs(f"FROM debian\n{line}\n") == []


def test_lines_of_a_here_document_are_no_instructions() -> None:
    text = "FROM debian\nRUN <<A cat - <<B\nRUN --mount=x\nA\nCOPY --link x\nB\nCOPY --chmod=1 a b\n"
    assert needs(text) == [(2, "RUN <<A"), (2, "RUN <<B"), (7, "COPY --chmod")]


def test_another_escape_continues_lines() -> None:
    text = "# escape=`\nFROM debian\nRUN dir c:\\\nCOPY --link a `\n b\nRUN x `\n--mount\n"
    found = read_dockerfile(text)
    assert needs(text) == [(4, "COPY --link")]
    assert [(i.line, i.verb) for i in found.instructions] == [(2, "FROM"), (3, "RUN"), (4, "COPY"), (6, "RUN")]


@pytest.mark.parametrize(
    ("text", "syntax"),
    [
        ("# syntax=docker/dockerfile:1\nFROM x\n", "docker/dockerfile:1"),
        ("#SYNTAX = docker/dockerfile:1 \nFROM x\n", "docker/dockerfile:1"),
        ("# escape=`\n# syntax=docker/dockerfile:1\nFROM x\n", "docker/dockerfile:1"),
        ("#!/usr/bin/env x\n# syntax=docker/dockerfile:1\nFROM x\n", "docker/dockerfile:1"),
        ("\n# syntax=docker/dockerfile:1\nFROM x\n", ""),
        ("# about\n# syntax=docker/dockerfile:1\nFROM x\n", ""),
        ("FROM x\n", ""),
    ],
)
def test_a_front_end_is_named_at_the_top_only(text: str, syntax: str) -> None:
    assert read_dockerfile(text).syntax == syntax
    assert [word for _, word in needs(text)] == ([f"# syntax={syntax}"] if syntax else [])


def test_without_its_line_a_front_end_is_not_named_and_other_directives_stay() -> None:
    text = "# syntax=docker/dockerfile:1\n# check=skip=all\n# escape=`\nFROM x\n"
    rest = without_syntax(text)
    assert rest == "# check=skip=all\n# escape=`\nFROM x\n"
    assert [need.word for need in read_dockerfile(rest).needs] == ["# check=skip=all"]
    assert without_syntax("# escape=`\n# syntax=docker/dockerfile:1\nFROM x\n") == "# escape=`\n\nFROM x\n"
    assert without_syntax("FROM x\n") == "FROM x\n"
