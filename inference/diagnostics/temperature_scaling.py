r"""A common scale for energies:  p(y | x) = exp(-beta E(x, y)) / sum_k exp(-beta E(x, k)),  beta by likelihood."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["TemperatureScaling", "gibbs_probabilities", "temperature_scaling"]

MOST_STEPS = 200
"""Bisection alone would take fifty."""


class TemperatureScaling(NamedTuple):
    """The inverse temperature of energies, with what it is worth.

    Attributes:
        beta: in 1 / units of energy.
        standard_error: of beta, by the Fisher information.
        uncalibrated: the negative log likelihood at beta = 1, in nats a datum.
        calibrated: the same at ``beta``, on the data that it was fitted to.
    """

    beta: float
    standard_error: float
    uncalibrated: float
    calibrated: float


def gibbs_probabilities(energies: Tensor, beta: float = 1.0) -> Tensor:
    r"""The Gibbs distribution of K labels, (..., K), from their energies.

    .. math:: p_\beta(y \mid x) = \frac{e^{-\beta E(x, y)}}{\sum_k e^{-\beta E(x, k)}}

    Example:
        >>> gibbs_probabilities(torch.tensor([0.0, 1.0]), beta=3.0)
        tensor([0.9526, 0.0474])
    """
    return (-beta * energies).softmax(-1)


def temperature_scaling(energies: Tensor, labels: Tensor) -> TemperatureScaling:
    r"""The inverse temperature at which the Gibbs distribution of energies explains labels best.

    .. math:: \hat\beta = \arg\min_\beta L(\beta), \qquad
              L(\beta) = \frac{1}{N} \sum_n \Big( \beta E(x_n, y_n) + \log \sum_k e^{-\beta E(x_n, k)} \Big)

    L is convex: its slope is the mean of E(x_n, y_n) - <E>, and its curvature the mean variance of E, both under the
    Gibbs distribution. The curvature holds no label, so that its inverse, over N, is the square of the standard error.
    Which label has the lowest energy does not change; how the energies of separately trained systems compare does.

    Args:
        energies: E(x, y) for every label, (N, K), lower is better; of data that were not trained on, nor are tested.
        labels: the true ones, (N,), from 0 to K - 1.

    Raises:
        ValueError: if the shapes are others or an energy is not finite; if labels have no lower energies than others
            have on average, so that no positive beta is best; or if every label has the lowest of its energies, so
            that none is large enough.

    Reference: C. Guo, G. Pleiss, Y. Sun, K. Weinberger (2017), On calibration of modern neural networks, ICML,
    section 4.2, whose T is 1 / beta. https://arxiv.org/abs/1706.04599

    Example:
        >>> energies = torch.tensor([[0.0, 1.0], [0.0, 1.0], [0.0, 1.0], [1.0, 0.0]])
        >>> found = temperature_scaling(energies, torch.tensor([0, 0, 1, 1]))  # three of four are right: log 3
        >>> round(found.beta, 4), round(found.standard_error, 2)
        (1.0986, 1.15)
    """
    _check(energies, labels)
    energies = energies.detach().double()
    energies = energies - energies.amin(-1, keepdim=True)  # of no effect on L; sums of exponentials stay in range
    own = energies.gather(-1, labels[:, None]).squeeze(-1)

    def slope_and_curvature(beta: Tensor) -> tuple[Tensor, Tensor]:
        p = (-beta * energies).softmax(-1)
        mean = (p * energies).sum(-1)
        return (own - mean).mean(), (p * (energies - mean[:, None]).square()).sum(-1).mean()

    def loss(beta: float | Tensor) -> float:
        return (beta * own + (-beta * energies).logsumexp(-1)).mean().item()

    _check_labels(energies, own)
    beta = _root(slope_and_curvature, 1 / energies.std(-1).mean())
    error = (slope_and_curvature(beta)[1] * len(own)).rsqrt()
    return TemperatureScaling(beta.item(), error.item(), loss(1.0), loss(beta))


def _root(slope_and_curvature: Callable[[Tensor], tuple[Tensor, Tensor]], start: Tensor) -> Tensor:
    """Where a rising slope that is negative at 0 vanishes: Newton's steps, bisection where they leave the bracket."""
    low, high = torch.zeros_like(start), start
    while slope_and_curvature(high)[0] < 0:
        low, high = high, 2 * high
    beta = (low + high) / 2
    for _ in range(MOST_STEPS):
        slope, curvature = slope_and_curvature(beta)
        low, high = (beta, high) if slope < 0 else (low, beta)
        newton = beta - slope / curvature
        before, beta = beta, newton if low < newton < high else (low + high) / 2
        if (beta - before).abs() <= 1e-13 * beta:
            break
    return beta


def _check(energies: Tensor, labels: Tensor) -> None:
    if energies.dim() != 2 or labels.shape != energies.shape[:1]:
        raise ValueError(
            f"energies must have shape (data, labels), and labels (data,), got {tuple(energies.shape)} and "
            f"{tuple(labels.shape)}; energies by draw, (K, N), are to be transposed."
        )
    if not energies.isfinite().all():
        raise ValueError(
            f"energies must be finite, got {int((~energies.isfinite()).sum())} that are not; leave labels that are "
            f"impossible out of the columns."
        )


def _check_labels(energies: Tensor, own: Tensor) -> None:
    """That the likelihood has its maximum at a positive, finite beta; energies (N, K) from 0, of the labels (N,)."""
    if own.mean() >= energies.mean():
        raise ValueError(
            f"energies must be lower for the true labels than for others, got a mean of {own.mean():.3g} above the "
            f"lowest against {energies.mean():.3g} of all: no positive beta is best; scores that are high where a "
            f"label fits are to be passed with a minus sign."
        )
    if own.max() == 0:
        raise ValueError(
            f"each of the {len(own)} labels has the lowest of its energies, so that the likelihood rises with beta for "
            f"ever; pass more validation data, or data that were not trained on."
        )
