"""Shapes of objectives: ELBOs of Pyro's, particles, score-function terms, schedules, functions of one's own."""

from collections.abc import Callable
from typing import Any

import pyro
import pyro.distributions as dist
import pyro.poutine as poutine
import torch
from pyro.infer import RenyiELBO, Trace_ELBO, TraceEnum_ELBO, TraceGraph_ELBO, TraceMeanField_ELBO
from torch import Tensor, nn

from pyrometer import MonteCarlo
from pyrometer.inference.svi.estimators import doubly_reparameterised

from .exactness_case import Case

__all__ = ["OBJECTIVES"]


def location(y: Tensor) -> None:
    """z ~ N(0, 2) shared, y ~ N(z, 0.7)."""
    z = pyro.sample("z", dist.Normal(0.0, 2.0))
    with pyro.plate("data", len(y)):
        pyro.sample("y", dist.Normal(z, 0.7), obs=y)


def switch(y: Tensor) -> None:
    """on ~ Bernoulli(0.3), z ~ N(on, 1) shared, y ~ N(z, 0.7)."""
    on = pyro.sample("on", dist.Bernoulli(0.3))
    z = pyro.sample("z", dist.Normal(on, 1.0))
    with pyro.plate("data", len(y)):
        pyro.sample("y", dist.Normal(z + 0.5 * on, 0.7), obs=y)


class Location(nn.Module):
    """q(z), of a distribution of one's choice."""

    def __init__(self, family: Callable[[Tensor, Tensor], Any] = dist.Normal) -> None:
        super().__init__()
        self.family = family
        self.loc, self.log_scale = nn.Parameter(torch.tensor(0.4)), nn.Parameter(torch.tensor(-0.6))

    def forward(self, y: Tensor) -> None:  # noqa: ARG002 - the arguments are the model's
        """The program."""
        pyro.sample("z", self.family(self.loc, self.log_scale.exp()))


class Switch(nn.Module):
    """q(on) q(z | on), with a gradient of the score function for the first."""

    def __init__(self, family: Callable[[Tensor, Tensor], Any] = dist.Normal, infer: Any = None) -> None:
        super().__init__()
        self.family: Any = family
        self.infer: Any = infer or {}
        self.logit, self.loc = nn.Parameter(torch.tensor(0.3)), nn.Parameter(torch.tensor([0.2, 0.9]))
        self.log_scale = nn.Parameter(torch.tensor(-0.4))

    def forward(self, y: Tensor) -> None:  # noqa: ARG002
        """The program."""
        on = pyro.sample("on", dist.Bernoulli(logits=self.logit), infer=self.infer)
        loc = torch.where(on > 0.5, self.loc[1], self.loc[0])
        pyro.sample("z", self.family(loc, self.log_scale.exp()))


class Locations(nn.Module):
    """z_n ~ N(0, 2) and y_n ~ N(z_n, scale) as the model, q(z_n | y_n) as the guide."""

    def __init__(self, observes: bool) -> None:
        super().__init__()
        self.observes = observes
        self.slope, self.log_scale = nn.Parameter(torch.tensor(0.4)), nn.Parameter(torch.tensor(-0.6))

    def forward(self, y: Tensor) -> None:
        """The program."""
        with pyro.plate("data", len(y)):
            if not self.observes:
                pyro.sample("z", dist.Normal(self.slope * y, self.log_scale.exp()))
                return
            z = pyro.sample("z", dist.Normal(self.slope, 2.0))
            pyro.sample("y", dist.Normal(z, self.log_scale.exp()), obs=y)


class _Score(dist.Normal):
    """A normal whose draws have no gradient."""

    has_rsample = False


def closing(model: Callable, guide: Callable, y: Tensor, progress: float | Tensor) -> Tensor:
    """An ELBO whose entropy comes in as the training goes on."""
    of_guide = poutine.trace(guide).get_trace(y)
    of_model = poutine.trace(poutine.replay(model, trace=of_guide)).get_trace(y)
    energy: Any = -of_model.log_prob_sum()
    return (0.2 + 0.8 * progress) * of_guide.log_prob_sum() + energy


def _case(
    objective: Any, model: Callable = location, guide: Callable[[], nn.Module] = Location, **options: Any
) -> Callable[[], Case]:
    def build() -> Case:
        data = {"y": torch.randn(7) + 0.8}
        return Case(model, guide(), data, {"batch_size": None, "objective": objective(), **options})

    return build


def _renyi(alpha: Any, vectorised: bool) -> Callable[[], RenyiELBO]:
    return lambda: RenyiELBO(alpha=alpha, num_particles=3, vectorize_particles=vectorised)


def _by_datum(objective: Any, **options: Any) -> Callable[[], Case]:
    def build() -> Case:
        return _case(objective, Locations(observes=True), lambda: Locations(observes=False), **options)()

    return build


def _noisy(y: Tensor) -> dict[str, Tensor]:
    return {"y": y + 0.3 * torch.randn_like(y)}


def _rising(progress: float) -> float:
    return 0.3 + 0.7 * progress


OBJECTIVES: dict[str, Callable[[], Case]] = {
    "several particles": _case(lambda: Trace_ELBO(num_particles=3)),
    "several particles, vectorised": _case(lambda: Trace_ELBO(num_particles=3, vectorize_particles=True)),
    "TraceMeanField_ELBO": _case(TraceMeanField_ELBO),
    "RenyiELBO": _case(_renyi(0.5, vectorised=True)),
    "RenyiELBO, particle by particle": _case(_renyi(0.3, vectorised=False)),
    "TraceGraph_ELBO": _case(TraceGraph_ELBO),
    "TraceGraph_ELBO, a Bernoulli guide": _case(TraceGraph_ELBO, switch, Switch),
    "score function, a Normal guide": _case(Trace_ELBO, location, lambda: Location(_Score)),
    "score function, a Bernoulli guide": _case(Trace_ELBO, switch, lambda: Switch(_Score)),
    "score function beside enumeration": _case(
        TraceEnum_ELBO, switch, lambda: Switch(_Score, {"enumerate": "parallel"})
    ),
    "a function of the progress": _case(lambda: closing),
    "beta": _case(Trace_ELBO, beta=0.4),
    "a schedule of beta": _case(Trace_ELBO, beta=_rising),
    "importance-weighted, a shared latent": _case(lambda: MonteCarlo(doubly_reparameterised, 3)),
    "importance-weighted": _by_datum(lambda: MonteCarlo(doubly_reparameterised, 3)),
    "augmented data": _by_datum(Trace_ELBO, augment=_noisy),
    "a schedule of beta, TraceGraph_ELBO": _case(TraceGraph_ELBO, switch, Switch, beta=_rising),
}
