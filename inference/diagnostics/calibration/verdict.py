"""What a calibration amounts to in words: how the worst quantity is off, with the number that says so."""

import math

import numpy as np

from ..rank_bands import POINTS, RankBand, ecdf
from .ranked_quantities import LOG_JOINT, LOG_LIKELIHOOD
from .trials import TARP

__all__ = ["coverage", "describe_failure", "describe_pass"]

CLEAR = 2.0
"""Standard errors by which a mean or a spread is off before it is named as the reason."""
NOMINAL = 0.9
"""The central intervals whose coverage is told."""
LATENT = {
    "above": "its draws of {name} lie too low: the truth is above half of them",
    "below": "its draws of {name} lie too high: the truth is below half of them",
    "outside": "it is too narrow in {name}: the central 90 % of its draws hold the truth",
    "inside": "it is too wide in {name}: the central 90 % of its draws hold the truth",
    "odd": "its draws of {name} have the wrong shape: their central 90 % hold the truth",
}
OTHER = dict.fromkeys(
    ("outside", "inside", "odd"), "{name} has the wrong spread over its draws: the central 90 % hold the truth's"
)
WORDS = {
    LOG_JOINT: {
        "above": "it draws what is too improbable under the model: the truth is more probable than half of its draws",
        "below": "it is too narrow, it draws where p(x, z) is large: the truth is less probable than half of its draws",
        **OTHER,
    },
    LOG_LIKELIHOOD: {
        "above": "it learns too little from the data: the truth explains them better than half of its draws",
        "below": "it follows the data too closely: the truth explains them worse than half of its draws",
        **OTHER,
    },
    TARP: {
        "above": "it is too narrow or in the wrong place: the truth is farther from a reference than half of its draws",
        "below": "it is too wide: the truth is nearer to a reference than half of its draws",
        **OTHER,
    },
}


def coverage(pit: np.ndarray, interval: float) -> np.ndarray:
    r"""How often the guide's central interval of probability ``interval`` holds the truth, (...), from u (..., n).

    .. math:: P(|u - 1/2| \le \text{interval} / 2)

    Example:
        >>> float(coverage(np.array([0.02, 0.4, 0.5, 0.7]), 0.9))
        0.75
    """
    return (np.abs(pit - 0.5) <= interval / 2).mean(-1)


def describe_failure(name: str, pit: np.ndarray, p_value: float) -> str:
    """How the guide is off by the ranks u (n,) of its worst quantity: what it means, and a number."""
    kind = _kind(pit)
    share, wanted = coverage(pit, NOMINAL), NOMINAL
    if kind in ("above", "below"):
        share, wanted = np.mean(pit > 0.5 if kind == "above" else pit < 0.5), 0.5
    words = WORDS.get(name, LATENT)[kind].format(name=name)
    return (
        f"{words} in {100 * share:.1f} % of {len(pit)} cases, not {100 * wanted:.0f} % ({name}, p {_written(p_value)})"
    )


def describe_pass(name: str, p_value: float, band: RankBand, continuous: bool) -> str:
    """How near the worst quantity comes to its band, and what of ``continuous`` latents could go unnoticed."""
    if not continuous:
        return f"the worst is {name} (p {_written(p_value)})"
    middle = len(band.points) // 2
    # A shift by s standard deviations moves the ECDF of a normal posterior's ranks by s / sqrt(2 pi) in the middle.
    shift = (band.upper - band.lower)[middle] / 2 * math.sqrt(2 * math.pi)
    return (
        f"the worst is {name} (p {_written(p_value)}). With so many ranks, a shift of less than {shift:.2g} posterior "
        f"standard deviations can go unnoticed"
    )


def _kind(pit: np.ndarray) -> str:
    """How u differs from uniform numbers, whose mean is 1/2 with variance 1/12n.

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


def _written(p_value: float) -> str:
    return f"= {p_value:.2g}" if p_value >= 1e-10 else "< 1e-10"
