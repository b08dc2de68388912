"""What a calibration amounts to in words: how the worst quantity is off, with the number that says so."""

import math

import numpy as np

from ..rank_bands import RankBand
from ..uniformity import misfit, p_in_words
from .ranked_quantities import LOG_JOINT, LOG_LIKELIHOOD
from .trials import TARP

__all__ = ["describe_failure", "describe_pass"]

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


def describe_failure(name: str, pit: np.ndarray, p_value: float) -> str:
    """How the guide is off by the ranks u (n,) of its worst quantity: what it means, and a number."""
    shape, share, wanted = misfit(pit)
    words = WORDS.get(name, LATENT)[shape].format(name=name)
    p = p_in_words(p_value)
    return f"{words} in {100 * share:.1f} % of {len(pit)} cases, not {100 * wanted:.0f} % ({name}, p {p})"


def describe_pass(name: str, p_value: float, band: RankBand, continuous: bool) -> str:
    """How near the worst quantity comes to its band, and what of ``continuous`` latents could go unnoticed."""
    worst = f"the worst is {name} (p {p_in_words(p_value)})"
    if not continuous:
        return worst
    middle = len(band.points) // 2
    # A shift by s standard deviations moves the ECDF of a normal posterior's ranks by s / sqrt(2 pi) in the middle.
    shift = (band.upper - band.lower)[middle] / 2 * math.sqrt(2 * math.pi)
    return (
        f"{worst}. With so many ranks, a shift of less than {shift:.2g} posterior standard deviations can go unnoticed"
    )
