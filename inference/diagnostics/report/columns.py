"""The columns of a table as they are shown: numbers with the same decimals, a dash for what is missing."""

import math
from collections.abc import Sequence
from numbers import Integral, Real
from typing import Any, NamedTuple

__all__ = ["Cell", "Column", "lay_out"]

MINUS, NOTHING, INFINITE = "\N{MINUS SIGN}", "\N{EN DASH}", "\N{INFINITY}"
MOST_DECIMALS, LARGEST = 6, 1e15


class Cell(NamedTuple):
    """A cell as it is shown, and what sorts it: a number as JavaScript reads it, "" for nothing, None for the text."""

    text: str
    sort: str | None


class Column(NamedTuple):
    """A column of a table: its name, whether all that is in it are numbers, and its cells from top to bottom."""

    name: str
    numeric: bool
    cells: list[Cell]


def lay_out(header: Sequence[str], rows: Sequence[Sequence[Any]], digits: int) -> list[Column]:
    """The columns of a table, whose numbers have as many decimals as show so many digits of the middle one.

    Example:
        >>> site, mean = lay_out(["site", "mean"], [["mu", 4.41], ["tau", 0.1234]], digits=3)
        >>> mean.cells
        [Cell(text='4.41', sort='4.41'), Cell(text='0.12', sort='0.1234')]
    """
    columns = zip(*rows, strict=True) if rows else [()] * len(header)
    return [_column(name, values, digits) for name, values in zip(header, columns, strict=True)]


def _column(name: str, values: Sequence[Any], digits: int) -> Column:
    """Numbers among text have nothing to be lined up with, and each its own decimals."""
    present = [value for value in values if not _is_missing(value)]
    numeric = bool(present) and all(_is_number(value) for value in present)
    shared = _decimals(present, digits) if numeric else 0
    return Column(name, numeric, [_cell(one, shared if numeric else _decimals([one], digits)) for one in values])


def _cell(value: Any, decimals: int) -> Cell:
    if _is_missing(value):
        return Cell(NOTHING, "")
    if not _is_number(value):
        return Cell(str(value), None)
    text = f"{int(value):,}" if isinstance(value, Integral) else _as_text(float(value), decimals)
    return Cell(text.replace("-", MINUS), repr(float(value)).replace("inf", "Infinity"))


def _is_missing(value: Any) -> bool:
    return value is None or value != value or (isinstance(value, str) and not value.strip())


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


def _decimals(values: Sequence[Any], digits: int) -> int:
    """Enough for so many digits of the middle one of the magnitudes, without zeros that all of them end with."""
    inexact = (value for value in values if _is_number(value) and not isinstance(value, Integral))
    sizes = sorted(abs(float(value)) for value in inexact if value and math.isfinite(value))
    if not sizes:
        return 0
    decimals = digits - 1 - math.floor(math.log10(sizes[len(sizes) // 2]))
    decimals = min(max(decimals, 0), MOST_DECIMALS)
    shown = [size for size in sizes if round(size, decimals) > 0]
    while decimals and all(math.isclose(round(size, decimals - 1), size, rel_tol=1e-6) for size in shown):
        decimals -= 1
    return decimals


def _as_text(number: float, decimals: int) -> str:
    """The number with so many decimals, or with a power of ten where they would show nothing of it, or too much.

    Example:
        >>> _as_text(-1234.5678, 2), _as_text(0.00012, 2), _as_text(2e20, 2), _as_text(-math.inf, 2)
        ('-1,234.57', '1.2e-4', '2.0e20', '-∞')
    """
    size = abs(number)
    if math.isinf(size):
        return INFINITE if number > 0 else f"-{INFINITE}"
    if size >= LARGEST or (size > 0 and round(size, decimals) == 0):
        mantissa, exponent = f"{number:.1e}".split("e")
        return f"{mantissa}e{int(exponent)}"
    return f"{number:z,.{decimals}f}"
