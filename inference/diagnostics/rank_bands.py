r"""Bands that the ECDF of uniform numbers stays inside at all points together, and how far a given one strays.

The number of n uniform values at or below z is binomial, B(n, z). Pointwise bands of one tail probability t make a
simultaneous one, whose level follows from the counts at all points being a Markov chain.
"""

from functools import lru_cache
from typing import NamedTuple

import numpy as np

__all__ = ["POINTS", "RankBand", "departure", "ecdf", "p_value", "rank_band"]

INTERVALS = 100
"""Between 0 and 1: the ECDF is looked at where two of them meet."""
POINTS = np.arange(1, INTERVALS) / INTERVALS
WINDOW = 15
"""Standard deviations of a count that are tabulated on either side of its mean; beyond, a tail counts as zero."""


class RankBand(NamedTuple):
    """Where the ECDF of uniform numbers stays: ``lower`` <= ECDF <= ``upper`` at ``points``, (99,) each, in [0, 1]."""

    points: np.ndarray
    lower: np.ndarray
    upper: np.ndarray


@lru_cache(maxsize=64)
def rank_band(count: int, level: float) -> RankBand:
    r"""The narrowest band of its kind that holds the ECDF of ``count`` uniform numbers with probability ``level``.

    .. math:: P(\text{lower}_i \le F_n(z_i) \le \text{upper}_i \text{ for all } i) \ge \text{level}

    where 2 P(B <= n lower_i) and 2 P(B >= n upper_i), B ~ B(n, z_i), are above one tail probability t: the largest
    that keeps the level. The probability is exact, and at least the level, since counts are whole numbers.

    Raises:
        ValueError: if the level is not between 0 and 1.

    Reference: T. Säilynoja, P.-C. Bürkner, A. Vehtari (2022), Graphical test for discrete uniformity and its
    applications in goodness of fit evaluation and multiple sample comparison, Statistics and Computing 32, section 2.
    https://arxiv.org/abs/2103.10522

    Example:
        >>> band = rank_band(500, 0.95)
        >>> [round(float(edge[49]), 3) for edge in band]  # at one half
        [0.5, 0.434, 0.566]
    """
    if not 0 < level < 1:
        raise ValueError(f"level must be between 0 and 1, got {level}; 0.95 is usual.")
    error = 1 - level
    # By the union bound the first of these keeps the level; no tail probability is above the second.
    kept, beyond = error / len(POINTS), 1.0
    while beyond / kept > 1 + 1e-6:
        tail = (kept * beyond) ** 0.5
        if p_value(count, tail) <= error:
            kept = tail
        else:
            beyond = tail
    lower, upper = _allowed(count, kept)
    return RankBand(POINTS, lower / count, upper / count)


def ecdf(pit: np.ndarray) -> np.ndarray:
    """The part of n numbers at or below each of the 99 points, (..., 99), from (..., n)."""
    return _counts(pit) / pit.shape[-1]


def departure(pit: np.ndarray) -> np.ndarray:
    r"""How far the ECDF of each row strays, (...), from (..., n) numbers in [0, 1]: small is far.

    .. math:: t = \min_i 2 \min\{P(B_i \le n F_n(z_i)), P(B_i \ge n F_n(z_i))\}, \qquad B_i \sim B(n, z_i)

    This is the smallest of the tail probabilities at the points by themselves, and no p-value of the whole.
    """
    counts, count = _counts(pit), pit.shape[-1]
    first, tails = _lower_tails(count)
    # At least k of n at or below z is at most n - k above it.
    both = np.stack([counts, (count - counts)[..., ::-1]]) - first
    found = tails[np.arange(len(POINTS)), both.clip(0, tails.shape[1] - 1)]
    return np.minimum(1.0, 2 * np.where(both < 0, 0.0, found).min((0, -1)))


@lru_cache(maxsize=4096)
def p_value(count: int, tail: float) -> float:
    """The probability that ``count`` uniform numbers have a ``departure`` of ``tail`` or less. It is exact.

    Given their number, uniform numbers lie as the events of a Poisson process, whose counts add up independently:
    the probability of keeping inside is a chain of convolutions.

    Reference: A. Moscovich, B. Nadler (2017), Fast calculation of boundary crossing probabilities for Poisson
    processes, Statistics and Probability Letters 123. https://arxiv.org/abs/1503.04363
    """
    lower, upper = (np.append(edge, count) for edge in _allowed(count, tail))
    if (lower > upper).any():
        return 1.0
    widest = int((upper - np.insert(lower[:-1], 0, 0)).max())
    log_factorial = _log_factorial(count + widest)
    steps = np.arange(widest + 1)
    poisson = np.exp(steps * np.log(count / INTERVALS) - count / INTERVALS - log_factorial[steps])
    inside, first = np.ones(1), 0
    for low, high in zip(lower, upper, strict=True):
        inside, first = np.convolve(inside, poisson)[low - first : high - first + 1], low
    exactly = np.exp(count * np.log(count) - count - log_factorial[count])
    return float(max(0.0, 1 - inside.sum() / exactly))


def _counts(pit: np.ndarray) -> np.ndarray:
    rows = np.sort(pit.reshape(-1, pit.shape[-1]), -1)
    counts = np.array([np.searchsorted(row, POINTS, side="right") for row in rows])
    return counts.reshape(*pit.shape[:-1], len(POINTS))


def _allowed(count: int, tail: float) -> tuple[np.ndarray, np.ndarray]:
    """The least and the greatest count at each point whose tail probabilities are above ``tail``."""
    first, tails = _lower_tails(count)
    least = first + (2 * tails <= tail).sum(1)
    return least, (count - least)[::-1]


@lru_cache(maxsize=8)
def _lower_tails(count: int) -> tuple[np.ndarray, np.ndarray]:
    """P(B <= first_i + j), B ~ B(n, z_i), at column j of row i, for the counts round the mean."""
    mean, deviation = count * POINTS, np.sqrt(count * POINTS * (1 - POINTS))
    reach = int(np.ceil(WINDOW * deviation.max()))
    first = np.clip(np.floor(mean).astype(int) - reach, 0, None)
    columns = first[:, None] + np.arange(2 * reach + 1)
    k, z = np.minimum(columns, count), POINTS[:, None]
    log_factorial = _log_factorial(count)
    log_choices = log_factorial[count] - log_factorial[k] - log_factorial[count - k]
    log_probability = log_choices + k * np.log(z) + (count - k) * np.log1p(-z)
    return first, np.where(columns <= count, np.exp(log_probability), 0.0).cumsum(1)


def _log_factorial(count: int) -> np.ndarray:
    return np.concatenate([[0.0], np.log(np.arange(1, count + 1)).cumsum()])
