r"""Are probabilities frequencies?  ECE = sum_b n_b / N |accuracy_b - confidence_b|, and the table it is the sum of."""

import numpy as np
import torch
import xarray as xr
from torch import Tensor

__all__ = ["reliability"]


def reliability(probabilities: Tensor, labels: Tensor, bins: int = 10) -> xr.Dataset:
    r"""Accuracy and expected calibration error of probabilities of K labels, against labels that are known.

    .. math:: \text{ECE} = \sum_b \frac{n_b}{N} \left| \text{acc}_b - \text{conf}_b \right|

    over bins of as many data each, in order of the confidence, the largest probability of a datum. (Guo et al. take
    bins of equal width; of those most hold next to no data where a classifier is nearly always sure.)

    Args:
        probabilities: of each label, (N, K), summing to 1.
        labels: the true ones, (N,), from 0 to K - 1.
        bins: at most N.

    Returns:
        A Dataset of ``accuracy``, ``confidence`` and ``ece``; of ``ece_if_calibrated``: what the ECE of so many data
        would be, on average, if the probabilities were right; and, over ``bin``, of ``bin_accuracy``,
        ``bin_confidence`` and ``bin_count``.

    Raises:
        ValueError: if the shapes are others, or probabilities do not sum to 1.

    Reference: C. Guo, G. Pleiss, Y. Sun, K. Weinberger (2017), On calibration of modern neural networks, ICML,
    equation 5. https://arxiv.org/abs/1706.04599

    Example:
        >>> probabilities = torch.tensor([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4], [0.7, 0.3]])
        >>> table = reliability(probabilities, torch.tensor([0, 1, 1, 0]), bins=2)
        >>> table.bin_accuracy.values, table.bin_confidence.values.round(2), round(table.ece.item(), 2)
        (array([0.5, 1. ]), array([0.65, 0.85]), 0.15)
    """
    if probabilities.dim() != 2 or labels.shape != probabilities.shape[:1]:
        raise ValueError(
            f"probabilities must have shape (data, labels), and labels (data,), got {tuple(probabilities.shape)} and "
            f"{tuple(labels.shape)}."
        )
    probabilities = probabilities.detach().double()
    if ((probabilities.sum(-1) - 1).abs() > 1e-4).any():
        raise ValueError(
            f"probabilities must sum to 1 for each datum, got sums from {probabilities.sum(-1).min():.3g} to "
            f"{probabilities.sum(-1).max():.3g}; gibbs_probabilities(energies, beta) makes them of energies."
        )
    confidence, chosen = probabilities.max(-1)
    order = confidence.argsort()
    confidence, right = confidence[order], (chosen == labels)[order].double()
    found = {"accuracy": right.mean(), "confidence": confidence.mean(), **_in_bins(confidence, right, bins)}
    table = {name: (["bin"][: value.dim()], np.asarray(value)) for name, value in found.items()}
    return xr.Dataset(table)


def _in_bins(confidence: Tensor, right: Tensor, bins: int) -> dict[str, Tensor]:
    """By bin, and the ECE; both (N,), in order of the confidence."""
    bins = min(bins, len(confidence))
    parts = list(zip(confidence.tensor_split(bins), right.tensor_split(bins), strict=True))
    by_bin = torch.stack([torch.stack([own.mean(), sure.mean()]) for sure, own in parts])
    # Were the confidences right, the accuracy of a bin would be a mean of Bernoullis; |N(0, s)| has mean s sqrt(2/pi).
    spread = torch.stack([(sure * (1 - sure)).sum().sqrt() for sure, _ in parts]).sum() / len(confidence)
    sizes = torch.tensor([len(own) for _, own in parts])
    ece = (sizes / len(confidence) * (by_bin[:, 0] - by_bin[:, 1]).abs()).sum()
    found = {"ece": ece, "ece_if_calibrated": spread * (2 / torch.pi) ** 0.5}
    return found | {"bin_accuracy": by_bin[:, 0], "bin_confidence": by_bin[:, 1], "bin_count": sizes}
