"""How numbers in [0, 1] that should be uniform are not: ranks of what is true among what was drawn."""

import math
from typing import Literal, NamedTuple

import numpy as np

from .rank_bands import POINTS, ecdf

__all__ = ["NOMINAL", "Misfit", "Shape", "coverage", "misfit", "p_in_words"]

Shape = Literal["above", "below", "outside", "inside", "odd"]
"""Where the truth is too often: above or below half of the draws, outside or inside their middle, or none of these."""
NOMINAL = 0.9
"""The central interval whose coverage is told."""
CLEAR = 2.0
"""Standard errors by which a mean or a spread is off before it is named as the reason."""


class Misfit(NamedTuple):
    """How ranks differ from uniform ones, and a number that shows it.

    Attributes:
        shape: where the truth is too often.
        share: of the ranks above one half, or below, where that is the shape; else in the middle, at ``NOMINAL``.
        wanted: what it is of uniform ranks.
    """

    shape: Shape
    share: float
    wanted: float


def coverage(pit: np.ndarray, interval: float) -> np.ndarray:
    r"""How often a central interval of probability ``interval`` holds the truth, (...), from its ranks u (..., n).

    .. math:: P(|u - 1/2| \le \text{interval} / 2)

    Example:
        >>> float(coverage(np.array([0.02, 0.4, 0.5, 0.7]), 0.9))
        0.75
    """
    return (np.abs(pit - 0.5) <= interval / 2).mean(-1)


def misfit(pit: np.ndarray) -> Misfit:
    """How ranks u (n,) in [0, 1] differ from uniform numbers.

    Example:
        >>> misfit(np.arange(1, 101) / 200)
        Misfit(shape='below', share=0.99, wanted=0.5)
    """
    shape = _shape(pit)
    if shape == "above":
        return Misfit(shape, float(np.mean(pit > 0.5)), 0.5)
    if shape == "below":
        return Misfit(shape, float(np.mean(pit < 0.5)), 0.5)
    return Misfit(shape, float(coverage(pit, NOMINAL)), NOMINAL)


def p_in_words(p_value: float) -> str:
    """As it stands behind a p: ``= 0.3``."""
    return f"= {p_value:.2g}" if p_value >= 1e-10 else "< 1e-10"


def _shape(pit: np.ndarray) -> Shape:
    """By u (n,) and by the moments of uniform numbers, whose mean is 1/2 with variance 1/12n.

    A shift moves the ECDF to one side at u and 1 - u alike, a wrong width to opposite sides: the larger is told.
    """
    count, difference = len(pit), ecdf(pit) - POINTS
    shifted = ((difference + difference[::-1]) ** 2).mean() >= ((difference - difference[::-1]) ** 2).mean()
    mean = (pit.mean() - 1 / 2) * math.sqrt(12 * count)
    # The squared distance of u from 1/2 has the mean 1/12 and the variance 1/180.
    spread = (((pit - 1 / 2) ** 2).mean() - 1 / 12) * math.sqrt(180 * count)
    if abs(mean if shifted else spread) < CLEAR:
        return "odd"
    if shifted:
        return "above" if mean > 0 else "below"
    return "outside" if spread > 0 else "inside"
