r"""A normalising flow round a Gaussian:  z = loc + scale * T(eps; features),  eps ~ N(0, I_D), T made of splines."""

import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor, nn
from torch.distributions import Distribution, constraints

from ..networks import mlp
from ..networks.joined import joined

__all__ = ["Coupling", "SplineFlow"]

BOUND = 5.0
"""Splines move what lies within so many units of the scale, and leave the tails beyond as they are."""


class Coupling(nn.Module):
    r"""One step of the flow: one half of the coordinates stays, and says how splines move the other half.

    .. math:: (u_a, u_b) \mapsto (u_a, \; s(u_b; f(u_a, h))), \qquad
              \log |\det| = \sum_i \log s'(u_{b, i}; f_i(u_a, h))

    with s a rising rational-quadratic spline of [-5, 5] onto itself, h the features and f a network with one hidden
    layer, which starts at 0, where s is the identity. Both directions cost one call of the network.

    Args:
        latents: the dimensions D of u; where there is one, nothing stays.
        features: the dimensions of h.
        hidden: the width of the network.
        bins: the pieces of each spline.
        first: the first half is moved, rather than the second.

    Raises:
        ImportError: if zuko is not installed, whose spline this is.

    Reference: C. Durkan, A. Bekasov, I. Murray, G. Papamakarios (2019), Neural spline flows, sections 2.1 and 3.
    https://arxiv.org/abs/1906.04032
    """

    def __init__(self, latents: int, features: int, hidden: int, bins: int = 8, *, first: bool) -> None:
        super().__init__()
        middle = latents // 2
        self.bins, self.spline = bins, _spline()
        self.moves_first = first and latents > 1  # else, with a single coordinate, there would be none to move
        moved = middle if self.moves_first else latents - middle
        self.sizes = [middle, latents - middle]
        self.network = mlp(latents - moved + features, hidden, moved * (3 * bins - 1))
        last = self.network[-1]
        assert isinstance(last, nn.Linear)
        nn.init.zeros_(last.weight)

    def forward(self, u: Tensor, features: Tensor) -> tuple[Tensor, Tensor]:
        """The moved coordinates (..., D) of u, and the log determinant (...)."""
        stays, moves = self._halves(u)
        moved, slopes = self._spline(stays, features).call_and_ladj(moves)
        return self._together(stays, moved), slopes.sum(-1)

    def inverse(self, u: Tensor, features: Tensor) -> tuple[Tensor, Tensor]:
        """What ``forward`` moves to u, and the log determinant of ``forward`` there."""
        stays, moved = self._halves(u)
        spline = self._spline(stays, features)
        moves = spline.inv(moved)
        return self._together(stays, moves), spline.call_and_ladj(moves)[1].sum(-1)

    def _spline(self, stays: Tensor, features: Tensor) -> Any:
        shapes = self.network(joined(stays, features)).unflatten(-1, (-1, 3 * self.bins - 1))
        return self.spline(*shapes.split([self.bins, self.bins, self.bins - 1], -1), bound=BOUND)

    def _halves(self, u: Tensor) -> tuple[Tensor, Tensor]:
        first, second = u.split(self.sizes, -1)
        return (second, first) if self.moves_first else (first, second)

    def _together(self, stays: Tensor, moves: Tensor) -> Tensor:
        return torch.cat([moves, stays] if self.moves_first else [stays, moves], -1)


class SplineFlow(TorchDistribution):
    r"""A Gaussian bent by couplings, of vectors (..., D), with exact densities and reparameterised draws.

    .. math:: z = \mu + \sigma \odot T(\epsilon; h), \qquad \epsilon \sim N(0, I_D), \qquad
              \log q(z) = \log N(\epsilon; 0, I_D) - \log |\det T'(\epsilon; h)| - \sum_i \log \sigma_i

    in nats, with T the couplings one after the other. A draw keeps its density, so that asking for it costs nothing;
    the density of any other value costs as much as a draw. It has no mean or variance in closed form.

    Args:
        loc: mu, (..., D).
        scale: sigma, (..., D), positive.
        features: h, (..., F), which every coupling reads.
        couplings: the steps of T, in the order of drawing.

    Example:
        >>> couplings = [Coupling(latents=3, features=2, hidden=10, first=bool(i % 2)) for i in range(4)]
        >>> q = SplineFlow(torch.zeros(5, 3), torch.full((5, 3), 2.0), torch.randn(5, 2), couplings)
        >>> z = q.rsample((7,))
        >>> z.shape, q.log_prob(z).shape
        (torch.Size([7, 5, 3]), torch.Size([7, 5]))
    """

    has_rsample = True

    def __init__(
        self,
        loc: Tensor,
        scale: Tensor,
        features: Tensor,
        couplings: Iterable[Coupling],
        validate_args: bool | None = None,
    ) -> None:
        self.loc, self.scale = torch.broadcast_tensors(loc, scale)
        self.features, self.couplings = features.expand(*self.loc.shape[:-1], -1), list(couplings)
        self._drawn: tuple[Tensor, Tensor] | None = None
        super().__init__(self.loc.shape[:-1], self.loc.shape[-1:], validate_args=validate_args)

    def expand(self, batch_shape: Any, _instance: Any = None) -> "SplineFlow":
        """The same for a larger batch."""
        loc, scale, features = (part.expand(*batch_shape, -1) for part in (self.loc, self.scale, self.features))
        return type(self)(loc, scale, features, self.couplings, validate_args=False)

    @property
    def arg_constraints(self) -> dict[str, constraints.Constraint]:
        """None: the parameters named here do not say which flow it is without the couplings."""
        return {}

    @property
    def support(self) -> constraints.Constraint:
        """All vectors of real numbers."""
        return constraints.real_vector

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """Draws (..., D), differentiable in all parameters."""
        shape = self._extended_shape(torch.Size(sample_shape))
        noise = torch.randn(shape, dtype=self.loc.dtype, device=self.loc.device)
        u, log_det = noise, torch.zeros_like(noise[..., 0])
        for coupling in self.couplings:
            u, slope = coupling(u, self.features)
            log_det = log_det + slope
        drawn = self.loc + self.scale * u
        self._drawn = drawn, self._log_density(noise, log_det)
        return drawn

    def log_prob(self, value: Tensor) -> Tensor:
        """The log density, in nats."""
        if self._validate_args:
            self._validate_sample(value)
        if self._drawn is not None and value is self._drawn[0]:
            return self._drawn[1]
        u, log_det = (value - self.loc) / self.scale, torch.zeros_like(value[..., 0])
        for coupling in reversed(self.couplings):
            u, slope = coupling.inverse(u, self.features)
            log_det = log_det + slope
        return self._log_density(u, log_det)

    def _log_density(self, noise: Tensor, log_det: Tensor) -> Tensor:
        normal = -0.5 * (noise.square() + math.log(2 * math.pi)).sum(-1)
        return normal - log_det - self.scale.log().sum(-1)


def _spline() -> type:
    """Zuko's spline, imported when a flow is first made, so that nothing else of the package needs zuko."""
    with _validation_kept():
        try:
            from zuko.transforms import MonotonicRQSTransform
        except ImportError as error:
            raise ImportError(
                "a flow needs the package zuko, which is not installed; pip install zuko, or take GaussianEncoder."
            ) from error
    return MonotonicRQSTransform


@contextmanager
def _validation_kept() -> Iterator[None]:
    # Importing zuko switches off torch's checks of arguments for every distribution of the process.
    before = Distribution._validate_args
    try:
        yield
    finally:
        Distribution.set_default_validate_args(before)
