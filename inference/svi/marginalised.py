r"""Training at a temperature without a guide:  F_beta(x) = -(1/beta) log mean over k of exp(-beta E(x, z_k))."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from ..energy.latent_points import energies_at, free_energy_at
from .kept_views import KeptViews

__all__ = ["Marginalised"]


@dataclass(frozen=True)
class Marginalised:
    r"""An objective of ``fit`` without a guide: the free energy, by a sum over points of the latent space.

    .. math:: F_\beta(x) = -\frac{1}{\beta} \log \frac{1}{K} \sum_k e^{-\beta E_\theta(x, z_k)}, \qquad
              \frac{d F_\beta}{d \theta} = \sum_k p_\beta(z_k \mid x) \, \frac{\partial E_\theta}{\partial \theta}

    in nats, summed over the data of a batch; beta is that of ``fit``. The measure is uniform on the points: exact where
    they are all values of a discrete latent. On a circle evenly spaced points converge exponentially in their number,
    once they are closer than exp(-beta E) is wide. By ``base="lebesgue"`` F is lower by log(volume) / beta.

    Args:
        points: values of every latent, jointly, which each datum's take: by site, (K, *event_shape).
        plate: the data plate, in which every latent lies.

    Raises:
        ValueError: if a latent lies outside the data plate, has no points, or points of another shape.

    Source: Y. LeCun, S. Chopra, R. Hadsell, M. Ranzato, F. Huang (2006), A tutorial on energy-based learning,
    equation 19. The trapezoidal rule on a circle: L. N. Trefethen, J. A. C. Weideman (2014), SIAM Review 56.

    Example:
        >>> import math, pyro, torch, pyro.distributions as dist
        >>> from pyrometer import fit
        >>> class Circle(torch.nn.Module):
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.radius = torch.nn.Parameter(torch.tensor(1.0))
        ...     def forward(self, y=None):
        ...         with pyro.plate("data", 3):
        ...             angle = pyro.sample("angle", dist.Uniform(0.0, 2 * math.pi))
        ...             on = self.radius * torch.stack([angle.cos(), angle.sin()], -1)
        ...             return pyro.sample("y", dist.Normal(on, 0.1).to_event(1), obs=y)
        >>> model, y = Circle(), torch.tensor([[2.0, 0.0], [0.0, 2.0], [-1.4, 1.4]])
        >>> around = Marginalised({"angle": 2 * math.pi * torch.arange(128) / 128})
        >>> adam = lambda parameters: torch.optim.Adam(parameters, lr=0.05)
        >>> _ = fit(model, None, {"y": y}, objective=around, steps=200, optimizer=adam, seed=0, progress=False)
        >>> round(model.radius.item(), 2)
        1.99
    """

    points: Mapping[str, Tensor]
    plate: str | None = "data"
    views: KeptViews = field(default_factory=KeptViews, init=False, repr=False, compare=False)
    infers_latents = True

    def __call__(self, model: Callable, guide: Callable, beta: float | Tensor = 1.0, **batch: Any) -> Tensor:  # noqa: ARG002
        """F_beta of a batch, a scalar with gradient."""
        bound = self.views.view(model, self.plate).bind(**batch)
        energy, rest = energies_at(bound, self.points)
        return bound.structure.subsampling * free_energy_at(energy, beta).sum() + rest
