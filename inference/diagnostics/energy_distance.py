r"""Are two samples of one distribution:  D^2 = 2 E|X - Y| - E|X - X'| - E|Y - Y'|,  and the same after permutations."""

from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["EnergyDistance", "energy_distance"]


class EnergyDistance(NamedTuple):
    """Of two samples.

    Attributes:
        value: D^2, which between samples of one distribution is not 0 but about the mean of ``permuted``.
        permuted: the same of the same points, with who belongs to which sample drawn anew, (P,).
    """

    value: float
    permuted: Tensor

    @property
    def ratio(self) -> float:
        """The distance over its mean under permutations: about 1 for samples of one distribution."""
        return self.value / self.permuted.mean().item()

    @property
    def p(self) -> float:
        """Of the permutation test that both samples are of one distribution."""
        return (1 + int((self.permuted >= self.value).sum())) / (1 + len(self.permuted))


def energy_distance(first: Tensor, second: Tensor, permutations: int = 200) -> EnergyDistance:
    r"""The squared energy distance of samples (N, D) and (M, D), with a permutation test.

    .. math:: D^2 = 2 E|X - Y| - E|X - X'| - E|Y - Y'| \ge 0

    with Euclidean distances and means over all pairs, those of a point with itself included, so that it is biased
    upwards. Time and memory grow as (N + M)^2. The permutations come from torch's generator.

    Raises:
        ValueError: if the samples are not matrices of one width with rows in them, or there are no permutations.

    Reference: G. J. Székely, M. L. Rizzo (2013), Energy statistics: a class of statistics based on distances, Journal
    of Statistical Planning and Inference 143, equation 5.

    Example:
        >>> _ = torch.manual_seed(0)
        >>> same = energy_distance(torch.randn(100, 3), torch.randn(100, 3))
        >>> other = energy_distance(torch.randn(100, 3), 1 + torch.randn(100, 3))
        >>> same.ratio < 2 < other.ratio, other.p < 0.01
        (True, True)
    """
    if first.dim() != 2 or second.dim() != 2 or first.shape[1] != second.shape[1]:
        raise ValueError(
            f"the samples must be (N, D) and (M, D), got {tuple(first.shape)} and {tuple(second.shape)}; flatten "
            f"images by image.flatten(1)."
        )
    if not len(first) or not len(second) or permutations < 1:
        raise ValueError(
            f"two samples and permutations of them are compared, got {len(first)} and {len(second)} rows and "
            f"{permutations} permutations; give at least one of each, and 200 permutations for a test at 5 %."
        )
    both = torch.cat([first, second]).double()
    distances = torch.cdist(both, both)
    belongs = torch.cat([both.new_full((len(first),), 1 / len(first)), both.new_full((len(second),), -1 / len(second))])
    orders = [torch.arange(len(both)), *[torch.randperm(len(both)) for _ in range(permutations)]]
    signs = torch.stack([belongs[order.to(both.device)] for order in orders], -1)
    values = -(signs * (distances @ signs)).sum(0)
    return EnergyDistance(values[0].item(), values[1:])
