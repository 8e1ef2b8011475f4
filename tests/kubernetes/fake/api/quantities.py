"""Amounts such as 100m and 1Gi."""

from __future__ import annotations

from fractions import Fraction

_UNITS = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}


def parse_quantity(text: object) -> Fraction:
    text = str(text)
    if text.endswith("m"):
        return Fraction(text[:-1]) / 1000
    number = text.rstrip("kMGTi")
    return Fraction(number) * _UNITS[text[len(number) :]]


def format_quantity(amount: Fraction, like: str) -> str:
    """Write an amount as the server does: memory in the largest unit that leaves a whole number, cpu in thousandths."""
    if "memory" in like or "storage" in like:
        for unit in ("Ti", "Gi", "Mi", "Ki"):
            if amount and amount % _UNITS[unit] == 0:
                return f"{amount // _UNITS[unit]}{unit}"
        return str(int(amount))
    return str(amount) if amount.denominator == 1 else f"{int(amount * 1000)}m"
