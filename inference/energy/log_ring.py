r"""Sums (or maxima) of products of factors over discrete variables, in log space and without underflow."""

import itertools
import math
from collections.abc import Iterable, Mapping

import torch
from pyro.ops.rings import LogRing
from torch import Tensor

__all__ = ["LADDER", "MOMENTS", "StableLogRing", "dims_of", "with_dims"]

# Two letters no sum touches, the last there are: of several inverse temperatures; and of four numbers for each entry,
# log Z, the mean energy, its variance, and beta times the mean energy plus log Z, which counting makes the entropy.
LADDER, MOMENTS = chr(0x10FFFD), chr(0x10FFFC)
# Entries of a joint table, 2 GiB in float64: beyond it a machine would swap for hours before it failed.
LARGEST_TABLE = 2**28


def dims_of(term: Tensor) -> str:
    """The dimensions of a packed tensor, one letter each."""
    return term._pyro_dims  # pyright: ignore[reportAttributeAccessIssue]


def with_dims(term: Tensor, dims: str) -> Tensor:
    """The tensor, packed: its dimensions named by one letter each."""
    term._pyro_dims = dims  # pyright: ignore[reportAttributeAccessIssue]
    return term


class StableLogRing(LogRing):
    r"""Sum-product in log space by broadcast addition and ``logsumexp``, one variable after another.

    Pyro's own ring shifts each factor by its own maximum before it multiplies, so a path that is no factor's maximum
    underflows: with factors that disagree by a few hundred nats the sum is infinite, or finite and wrong. Here
    factors are added whole before the maximum is taken, which costs a table of their joint size. Variables are
    eliminated greedily, the smallest joint table first.

    Args:
        cache: unused by this ring's own operations; Pyro passes one.
        dim_to_size: the size of every dimension, by letter.
        maximum: take maxima instead of sums (zero temperature).
        plate_factors: full size over size of subsampled plates, by letter: how often each element counts in a product.

    Shapes: terms are packed tensors, whose attribute ``_pyro_dims`` names their dimensions by one letter each. Where
    all of them have the dimension ``MOMENTS`` the moments of the energy are carried along with log Z, which loses no
    digits at high beta, as derivatives of log Z would.

    Example:
        >>> import torch
        >>> far, near = torch.tensor([0.0, -1000.0]).double(), torch.tensor([-1000.0, 0.0]).double()
        >>> terms = [with_dims(far, "a"), with_dims(near, "a")]
        >>> StableLogRing(dim_to_size={"a": 2}).sumproduct(terms, "a")  # log(2 e^-1000)
        tensor(-999.3069, dtype=torch.float64)
    """

    def __init__(
        self,
        cache: dict | None = None,
        dim_to_size: Mapping[str, int] | None = None,
        maximum: bool = False,
        plate_factors: Mapping[str, float] | None = None,
    ) -> None:
        super().__init__(cache=cache, dim_to_size=dim_to_size)
        self.maximum = maximum
        self.plate_factors = plate_factors or {}

    def sumproduct(self, terms: Iterable[Tensor], dims: Iterable[str]) -> Tensor:
        """log of the sum (or maximum) over ``dims`` of the product of exp(terms).

        Raises:
            ValueError: if a joint table would have more than 2^28 entries.
        """
        left = dict(enumerate(terms))
        touching: dict[str, set[int]] = {dim: set() for dim in dims}
        for i, term in left.items():
            for dim in touching.keys() & set(dims_of(term)):
                touching[dim].add(i)
        number = itertools.count(len(left))
        cost = {dim: self._joint_size(left[i] for i in ids) for dim, ids in touching.items()}
        while cost:
            dim = min(cost, key=lambda d: (cost[d], d))
            if cost.pop(dim) > LARGEST_TABLE:
                raise ValueError(f"the cheapest sum left needs a table of more than {LARGEST_TABLE} entries.")
            used = touching.pop(dim)
            # In order, so that rounding does not depend on the order of a set.
            joined = self._eliminate([left.pop(i) for i in sorted(used)], dim)
            new = next(number)
            left[new] = joined
            for other in cost.keys() & set(dims_of(joined)):
                touching[other] = (touching[other] - used) | {new}
                cost[other] = self._joint_size(left[i] for i in touching[other])
        return _add(list(left.values()))

    def product(self, term: Tensor, ordinal: Iterable[str]) -> Tensor:
        """The product of exp(term) over plates, in log space."""
        dims, plates = dims_of(term), set(ordinal)
        factor = math.prod(self.plate_factors.get(plate, 1.0) for plate in plates)
        axes = [axis for axis, dim in enumerate(dims) if dim in plates]
        total = term.sum(axes) if axes else term
        return with_dims(factor * total, "".join(dim for dim in dims if dim not in plates))

    def _eliminate(self, terms: list[Tensor], dim: str) -> Tensor:
        total = _add(terms, first=dim)
        kept = dims_of(total)[1:]
        if MOMENTS in kept:
            return with_dims(_mixed(total, 1 + kept.index(MOMENTS)), kept)
        if self.maximum:  # with an index: the derivative goes to one maximiser, also where several tie
            return with_dims(total.max(0).values, kept)
        return with_dims(total.logsumexp(0), kept)

    def _joint_size(self, terms: Iterable[Tensor]) -> int:
        return math.prod(self._dim_to_size[d] for d in {d for term in terms for d in dims_of(term)})


def _mixed(total: Tensor, axis: int) -> Tensor:
    """The moments of a mixture, along the first dimension, by the laws of total expectation, variance and entropy."""
    log_z, mean, variance, entropy = total.unbind(axis)
    log_share = log_z.log_softmax(0)  # not log Z minus its sum: their common size, beta E, would cost digits
    share = log_share.exp()
    mixed_mean = (share * mean).sum(0)
    mixed_variance = (share * (variance + (mean - mixed_mean).square())).sum(0)
    mixed_entropy = (share * (entropy - log_share)).sum(0)
    return torch.stack([log_z.logsumexp(0), mixed_mean, mixed_variance, mixed_entropy], axis - 1)


def _add(terms: list[Tensor], first: str = "") -> Tensor:
    """The sum of packed terms by broadcasting, with the dimension ``first`` outermost: sums over it are fastest."""
    order = first + "".join(sorted({d for term in terms for d in dims_of(term)} - {first}))
    total = sum((_aligned(term, order) for term in terms[1:]), _aligned(terms[0], order))
    return with_dims(total[...], order)


def _aligned(term: Tensor, order: str) -> Tensor:
    own = dims_of(term)
    sizes = dict(zip(own, term.shape, strict=True))
    permuted = term.permute([own.index(d) for d in order if d in own])
    return permuted.reshape([sizes.get(d, 1) for d in order])
