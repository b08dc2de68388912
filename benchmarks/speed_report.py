"""The tables of the benchmark of speed."""

import math
import statistics
from collections.abc import Mapping

from .results_page import table
from .speed_pair import SpeedPair
from .speed_systems import LOOP, PLAIN, SCAN

__all__ = ["Measured", "report"]

Measured = dict[str, list[float]]
"""Milliseconds a step in each round, by competitor."""


def report(pair: SpeedPair, times: Measured, apart: Mapping[str, float]) -> str:
    """One pair: a row for each competitor, its time and how it stands to the others."""
    hand = list(pair.by_hand)[-1]
    header = [
        "step",
        "ms",
        "quartiles",
        "times faster than plain Pyro",
        "over NumPyro's loop",
        "over NumPyro's scan",
        f"over {hand}",
        "losses within",
    ]
    rows = [
        [
            name,
            _number(statistics.median(values)),
            _spread(values),
            _ratio(times.get(PLAIN), values),
            *(_ratio(values, times.get(other)) for other in (LOOP, SCAN, hand)),
            f"{apart[name]:.0e}" if name in apart else "-",
        ]
        for name, values in times.items()
    ]
    return f"#### {pair.name}\n\n{pair.words}\n\n{table(header, rows)}"


def _ratio(above: list[float] | None, below: list[float] | None) -> str:
    """The median over rounds of the ratio within a round."""
    if above is None or below is None:
        return "-"
    return _number(statistics.median(one / other for one, other in zip(above, below, strict=True)))


def _spread(values: list[float]) -> str:
    low, _, high = statistics.quantiles(values, n=4)
    return f"{_number(low)} to {_number(high)}"


def _number(value: float) -> str:
    """Three digits, without an exponent.

    Example:
        >>> [_number(value) for value in (0.0067123, 1.2345, 151.4, 1234.5)]
        ['0.00671', '1.23', '151', '1234']
    """
    if value == 0 or abs(value) >= 1000:
        return f"{value:.0f}"
    return f"{value:.{max(0, 2 - math.floor(math.log10(abs(value))))}f}"
