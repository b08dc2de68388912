r"""Bounds on the free energy from draws of the guide:  F[q] = -E[log w]  or  -E[log mean w],  w = exp(-beta E) / q."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakSet

import torch
from torch import Tensor

from ..energy import BoundView
from ..energy.guide_draws import Guide
from ..energy.scoring import global_energy, local_energy, run, total_energy
from ..energy.structure import sample_sites
from ..energy.vectorize import Program
from .estimators import Estimator, reparameterised
from .kept_views import KeptViews

__all__ = ["MonteCarlo"]


@dataclass(frozen=True)
class MonteCarlo:
    r"""An objective of ``fit``: a bound on F_beta from draws of the guide, with the gradient of an estimator's choice.

    .. math:: F_\beta \le -\tfrac{1}{\beta} E \Big[ \log \tfrac{1}{S} \sum_k w_k \Big]
              \le -\tfrac{1}{\beta} E [\log w_1], \qquad w_k = e^{-\beta E(x, z_k)} / q(z_k \mid x)

    in nats, the first for estimators that average weights, the last for those that average their logarithms; by datum,
    summed over a batch. Where latents lie outside the data plate the data share their draws, and have one weight.

    Args:
        estimator: one of ``pyrometer.inference.svi.estimators``, or any function of log weights (S, N) that gives
            ``Weights``.
        draws: of the guide, S.
        plate: the data plate.

    Raises:
        ValueError: by ``fit``, if the estimator goes through draws which are not reparameterised, as those of discrete
            latents (the site is named), or the guide leaves out a latent.

    Example:
        >>> import pyro, torch, pyro.distributions as dist
        >>> from pyrometer.inference.svi.estimators import doubly_reparameterised
        >>> def model(y):
        ...     with pyro.plate("data", 3):
        ...         z = pyro.sample("z", dist.Normal(0.0, 2.0))
        ...         pyro.sample("y", dist.Normal(z, 0.5), obs=y)
        >>> class Guide(torch.nn.Module):
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.log_scale = torch.nn.Parameter(torch.tensor(0.0))
        ...     def forward(self, y):
        ...         with pyro.plate("data", 3):
        ...             pyro.sample("z", dist.Normal(y, self.log_scale.exp()))
        >>> bound = MonteCarlo(doubly_reparameterised, draws=50)
        >>> loss = bound(model, Guide(), y=torch.tensor([0.3, -0.1, 1.2]))
        >>> loss.requires_grad, loss.shape
        (True, torch.Size([]))
    """

    estimator: Estimator = reparameterised
    draws: int = 1
    plate: str | None = "data"
    views: KeptViews = field(default_factory=KeptViews, init=False, repr=False, compare=False)
    checked: WeakSet[Callable] = field(default_factory=WeakSet, init=False, repr=False, compare=False)

    def __call__(self, model: Callable, guide: Callable, beta: float | Tensor = 1.0, **batch: Any) -> Tensor:
        """The bound of a batch, a scalar whose gradient is the estimator's."""
        p, q = (self.views.view(program, self.plate).bind(**batch) for program in (model, guide))
        drawn = self._draw(guide, q)
        held = {name: value.detach().requires_grad_(value.is_floating_point()) for name, value in drawn.items()}
        by_datum = p.plate is not None and not (p.structure.shared_latents or q.structure.shared_latents)
        energy, common = _energy(p, held, by_datum)
        log_p, log_q = -beta * energy, -_energy(q, held, by_datum)[0]
        weights = self.estimator((log_p - log_q).detach())
        ascent = (weights.model * log_p).sum()
        if weights.score is not None:
            ascent = ascent + (weights.score * log_q).sum()
        if weights.path is not None:
            ascent = ascent + _through_draws((weights.path * (log_p - log_q)).sum(), drawn, held)
        # The value is the bound's, the gradient the estimator's.
        bound = weights.bound.sum() + ascent - ascent.detach()
        return common - (p.structure.subsampling if by_datum else 1) * bound / beta

    def _draw(self, guide: Callable, q: BoundView) -> dict[str, Tensor]:
        program = q.program
        source = Guide(program.callable, q.plate, *program.call, given={}, chosen=program.chosen)
        drawn = source.draw(self.draws, gradient=torch.is_grad_enabled()).latents
        if guide not in self.checked:
            self._check(program)
            self.checked.add(guide)
        return drawn

    def _check(self, guide: Program) -> None:
        """Where an estimator goes through the draws, they have to be reparameterised."""
        needs_path = self.estimator(torch.zeros(2, 1)).path is not None
        nodes = sample_sites(run(guide.callable, guide.structure, guide.call, {}))
        stuck = [name for name in guide.structure.latents if not nodes[name]["fn"].has_rsample]
        if needs_path and stuck:
            raise ValueError(
                f"the guide's draws of {stuck} are not reparameterised, so that "
                f"{getattr(self.estimator, '__name__', self.estimator)} has no gradient through them: take an "
                f"estimator by the score, such as leave_one_out or vimco, or sum the sites out by TraceEnum_ELBO."
            )


def _energy(bound: BoundView, latents: Mapping[str, Tensor], by_datum: bool) -> tuple[Tensor, Tensor]:
    """Energies of the draws (S, N), with what all data share, (); or (S, 1) in total, and nothing."""
    own = {name: latents[name] for name in bound.structure.latents if name in latents}
    terms, lead = bound.program.terms(own), bound.program.leading_shape(own)
    if by_datum:
        return local_energy(terms).expand(*lead, bound.structure.size), global_energy(terms, lead)[0]
    total = total_energy(terms, lead, bound.structure)
    return total.unsqueeze(-1), total.new_zeros(())


def _through_draws(value: Tensor, drawn: Mapping[str, Tensor], held: Mapping[str, Tensor]) -> Tensor:
    """A surrogate whose gradient is  dz/dphi dvalue/dz,  the partial derivative taken at the held draws."""
    moving = [name for name in drawn if drawn[name].requires_grad]
    if not moving:
        return value.new_zeros(())
    slopes = torch.autograd.grad(value, [held[name] for name in moving], retain_graph=True, materialize_grads=True)
    return sum(((slope * drawn[name]).sum() for slope, name in zip(slopes, moving, strict=True)), value.new_zeros(()))
