r"""Sums of products of factors over discrete variables, in log space and without underflow."""

import math
from collections.abc import Iterable

import torch
from pyro.ops.rings import LogRing
from torch import Tensor

__all__ = ["StableLogRing", "dims_of", "with_dims"]


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

    Shapes: terms are packed tensors, whose attribute ``_pyro_dims`` names their dimensions by one letter each.

    Example:
        >>> far, near = torch.tensor([0.0, -1000.0]).double(), torch.tensor([-1000.0, 0.0]).double()
        >>> terms = [with_dims(far, "a"), with_dims(near, "a")]
        >>> StableLogRing(dim_to_size={"a": 2}).sumproduct(terms, "a")  # log(2 e^-1000)
        tensor(-999.3069, dtype=torch.float64)
    """

    def sumproduct(self, terms: Iterable[Tensor], dims: Iterable[str]) -> Tensor:
        """log of the sum over ``dims`` of the product of exp(terms)."""
        remaining, left = set(dims), list(terms)
        while remaining:
            dim = min(sorted(remaining), key=lambda d: self._joint_size(left, d))
            touched = [term for term in left if dim in dims_of(term)]
            left = [term for term in left if dim not in dims_of(term)]
            left.append(_add(touched, drop=dim))
            remaining.discard(dim)
        return _add(left)

    def _joint_size(self, terms: list[Tensor], dim: str) -> int:
        joined = {d for term in terms if dim in dims_of(term) for d in dims_of(term)}
        return math.prod(self._dim_to_size[d] for d in joined)


def _add(terms: list[Tensor], drop: str = "") -> Tensor:
    """The sum of packed terms by broadcasting; the dimension ``drop`` is then summed out in log space."""
    names = sorted({d for term in terms for d in dims_of(term)} - {drop})
    order = "".join(names) + drop
    total = sum((_aligned(term, order) for term in terms[1:]), _aligned(terms[0], order))
    total = torch.logsumexp(total, -1) if drop else total[...]
    return with_dims(total, order[: len(names)])


def _aligned(term: Tensor, order: str) -> Tensor:
    own = dims_of(term)
    sizes = dict(zip(own, term.shape, strict=True))
    permuted = term.permute([own.index(d) for d in order if d in own])
    return permuted.reshape([sizes.get(d, 1) for d in order])
