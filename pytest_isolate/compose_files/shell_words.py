"""A command line cut into words as Docker Compose cuts it (go-shellwords): nothing is run, expanded or redirected."""

from __future__ import annotations

_SPACES = " \t\r\n"
_ENDS = ";&|<>"


class BadCommand(ValueError):
    """A command line that cannot be cut into words."""


def split_command(text: str) -> tuple[list[str], str]:
    """Return the words of a command line, and the rest that Compose leaves out: all from a `&&`, `|`, `;` or `>` on."""
    words: list[str] = []
    word: str | None = None
    quote = ""  # the character that ends what is quoted
    position = 0
    while position < len(text):
        char = text[position]
        if char == "\\" and quote != "'":
            if position + 1 == len(text):
                raise BadCommand("a backslash at its end")
            position += 1
            word = (word or "") + text[position]
        elif char in "\"'" and quote in ("", char):
            quote, word = ("" if quote else char), word or ""
        elif char in _SPACES and not quote:
            words += [] if word is None else [word]
            word = None
        elif char in _ENDS and not quote:
            # `2>`: the number belongs to what is left out.
            if char == ">" and word and word[0].isdigit():
                word = None
            break
        else:
            quote = _after(char, quote, word or "")
            word = (word or "") + char
        position += 1
    if quote and position == len(text):
        raise BadCommand(f"no closing {quote}")
    words += [] if word is None else [word]
    return words, text[position:]


def _after(char: str, quote: str, word: str) -> str:
    """The end of what is quoted, behind a character that may begin or end a `$(...)` or backquotes."""
    if char == "`" and quote in ("", "`"):
        return "" if quote else "`"
    if char == ")" and quote in ("", ")"):
        return "" if quote else ")"
    if char == "(" and quote in ("", ")"):
        if quote or not word.endswith("$"):
            raise BadCommand("a ( without a dollar sign in front of it")
        return ")"
    return quote
