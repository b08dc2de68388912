r"""Training at zero temperature:  the loss is  F_inf(x) = min over z of E(x, z), latents inferred datum by datum."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from ..energy.checks_by_value import checks_by_value
from ..energy.latent_points import energies_at
from .compiled.not_traceable import NotTraceable
from .kept_views import KeptViews

__all__ = ["Minimised"]


@dataclass(frozen=True)
class Minimised:
    r"""An objective of ``fit`` without a guide: the energy at its minimum over the latents.

    .. math:: F_\infty(x) = \min_z E_\theta(x, z), \qquad
              \frac{d F_\infty}{d \theta} = \frac{\partial E_\theta}{\partial \theta}(x, \hat z)

    in nats, summed over the data of a batch. The weights move by the gradient at the minimiser, held fixed: that the
    minimiser moves with them changes nothing to first order. Without points discrete latents are minimised exactly and
    the others as ``BoundView.zero_temperature`` does it, at every step: an upper bound, and slow. With points it is
    the least of their energies: the limit of ``Marginalised`` with them as beta grows.

    Args:
        points: values of every latent, jointly, among which each datum's minimum is: by site, (K, *event_shape).
        starts: without points, the draws of the prior from which minima are looked for.
        plate: the data plate.

    Raises:
        ValueError: by ``fit``, if a temperature is given, which F_inf has not.

    Source: Y. LeCun, S. Chopra, R. Hadsell, M. Ranzato, F. Huang (2006), A tutorial on energy-based learning,
    section 2.2, the energy loss; J. M. Danskin (1966), The theory of max-min, for the gradient.

    Example:
        >>> import pyro, torch, pyro.distributions as dist
        >>> from pyrometer import fit
        >>> class Model(torch.nn.Module):
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.means = torch.nn.Parameter(torch.tensor([-0.5, 0.1]))
        ...     def forward(self, y=None):
        ...         with pyro.plate("data", 4):
        ...             k = pyro.sample("k", dist.Categorical(torch.ones(2) / 2))
        ...             return pyro.sample("y", dist.Normal(self.means[k], 0.5), obs=y)
        >>> model, y = Model(), torch.tensor([-1.0, -1.2, 0.6, 0.8])
        >>> sgd = lambda parameters: torch.optim.SGD(parameters, lr=0.1)
        >>> trained = fit(model, None, {"y": y}, objective=Minimised(), steps=50, optimizer=sgd, seed=0, progress=False)
        >>> model.means.data  # of the two clusters
        tensor([-1.1000,  0.7000])
    """

    points: Mapping[str, Tensor] | None = None
    starts: int = 16
    plate: str | None = "data"
    views: KeptViews = field(default_factory=KeptViews, init=False, repr=False, compare=False)
    infers_latents = True

    def __call__(self, model: Callable, guide: Callable, **batch: Any) -> Tensor:  # noqa: ARG002
        """F_inf of a batch, a scalar with gradient."""
        bound = self.views.view(model, self.plate).bind(**batch)
        if self.points is not None:
            energy, rest = energies_at(bound, self.points)
            return bound.structure.subsampling * energy.amin(0).sum() + rest
        moving = [name for name in bound.structure.latents if not bound.structure.is_discrete(name)]
        if moving and not checks_by_value():
            raise NotTraceable(
                f"Minimised looks for the minimum over {moving} by L-BFGS, whose length depends on values: pass points"
            )
        with torch.no_grad():
            found = bound.zero_temperature(self.starts)
        return bound.energy(found.latents)
