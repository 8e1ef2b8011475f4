"""Dockerfiles: what only BuildKit understands, by line and word, and what merely looks like it."""

from __future__ import annotations

import pytest

from pytest_isolate.engine.dockerfile import Version, read_dockerfile, without_syntax


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
        ("ADD https://example.org/a.git?ref=v1 /a", "ADD https://example.org/a.git?ref=v1"),
        ("RUN [ -f /x ] || cat <<EOF > /x\nENV A=1\nEOF", "RUN <<EOF"),
        ("HEALTHCHECK --interval=5s --start-interval=1s CMD true", "HEALTHCHECK --start-interval"),
        ("ENV VERSION=${TAG#v}", "ENV ${TAG#v}"),
        ("COPY app-${TAG%%-*}.conf /a", "COPY ${TAG%%-*}"),
        ("ARG MINOR=${TAG-1}", "ARG ${TAG-1}"),
        ("ARG TARGETSTAGE", "TARGETSTAGE"),
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
    ("line", "word", "since"),
    [
        ("COPY --chmod=$MODE a /a", "COPY --chmod=$MODE", (1, 10)),
        ('ADD --chmod="${MODE}" a /a', "ADD --chmod=${MODE}", (1, 10)),
        ("COPY --link --chmod=u=rwX,go=rX a /a", "COPY --chmod=u=rwX,go=rX", (1, 14)),
        ("COPY --chmod=+x a /a", "COPY --chmod=+x", (1, 14)),
        ("RUN --mount=type=cache,target=/c/$USER true", "RUN --mount=type=cache,target=/c/$USER", (1, 3)),
        ("RUN --mount=type=secret,id=a,env=A true", "RUN --mount=type=secret,id=a,env=A", (1, 10)),
        ("ADD --chmod=755 https://example.org/a /a", "ADD --chmod of https://example.org/a", (1, 3)),
    ],
)
def test_values_that_older_ones_leave_out_without_a_word_are_found(line: str, word: str, since: Version) -> None:
    found = read_dockerfile(f"FROM debian\n{line}\n").needs
    assert (word, since) in [(need.word, need.since) for need in found]


@pytest.mark.parametrize(
    "line", ["COPY --chmod=0755 a /$A", "RUN --mount=type=secret,id=env ls /$A", "ADD --chmod=7 a /"]
)
def test_values_that_all_know_are_not(line: str) -> None:
    assert {need.since for need in read_dockerfile(line).needs} == {(1, 2)}


@pytest.mark.parametrize(
    "line",
    [
        "RUN echo ${A#v} && cat ${A%/*}",
        "ENV A=${B:-1} C=${B:+2}",
        "ENV A=\\${B#v}",
        "LABEL a='${B#v}'",
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
