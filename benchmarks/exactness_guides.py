"""Shapes of guides: Pyro's own, flows, and distributions whose gradient passes through an implicit function."""

from collections.abc import Callable

import pyro
import pyro.distributions as dist
import torch
from pyro.infer.autoguide import (
    AutoDelta,
    AutoDiagonalNormal,
    AutoGuide,
    AutoGuideList,
    AutoIAFNormal,
    AutoLowRankMultivariateNormal,
    AutoMultivariateNormal,
    AutoNormal,
    AutoStructured,
)
from pyro.poutine import block
from torch import Tensor, nn
from torch.distributions import constraints

from .exactness_case import Case

__all__ = ["GUIDES"]

ROWS = 7


def regression(x: Tensor, y: Tensor) -> None:
    """y ~ N(x w + b, s), with w in the plane and s > 0."""
    weight = pyro.sample("weight", dist.Normal(torch.zeros(2), 1.5).to_event(1))
    bias = pyro.sample("bias", dist.Normal(0.0, 2.0))
    scale = pyro.sample("scale", dist.HalfNormal(0.8))
    with pyro.plate("data", len(y)):
        pyro.sample("y", dist.Normal(x @ weight + bias, scale + 0.1), obs=y)


def correlated(y: Tensor) -> None:
    """y ~ N(0, covariance), with an LKJ prior."""
    scales = pyro.sample("scales", dist.LogNormal(torch.zeros(3), 0.5).to_event(1))
    root = pyro.sample("root", dist.LKJCholesky(3, 1.5))
    with pyro.plate("data", len(y)):
        pyro.sample("y", dist.MultivariateNormal(torch.zeros(3), scale_tril=scales[:, None] * root), obs=y)


def counts(y: Tensor) -> None:
    """y ~ Poisson(rate), with a Gamma prior on the rate and a Dirichlet one on what share is seen."""
    rate = pyro.sample("rate", dist.Gamma(2.0, 0.5))
    share = pyro.sample("share", dist.Dirichlet(torch.tensor([2.0, 1.0, 3.0])))
    with pyro.plate("data", len(y)):
        pyro.sample("y", dist.Poisson(rate * share).to_event(1), obs=y)


def conjugate(y: Tensor) -> None:  # noqa: ARG001 - the arguments are the model's
    """A Gamma and a Dirichlet with parameters in Pyro's store, under constraints."""
    shape = pyro.param("shape", torch.tensor(1.7), constraint=constraints.positive)
    speed = pyro.param("speed", torch.tensor(0.6), constraint=constraints.positive)
    pyro.sample("rate", dist.Gamma(shape, speed))
    pyro.sample("share", dist.Dirichlet(pyro.param("weights", torch.ones(3) * 1.5, constraint=constraints.positive)))


class Flow(nn.Module):
    """q(z) is a spline flow, of a posterior that bends."""

    def __init__(self) -> None:
        super().__init__()
        self.spline = dist.transforms.spline_coupling(2, hidden_dims=[6])

    def forward(self, y: Tensor) -> None:  # noqa: ARG002
        """The program."""
        base = dist.Normal(torch.zeros(2), torch.ones(2)).to_event(1)
        pyro.sample("z", dist.TransformedDistribution(base, [self.spline]))


def bent(y: Tensor) -> None:
    """y ~ N(z_1 + z_2^2 / 4, 1.1)."""
    z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.2).to_event(1))
    with pyro.plate("data", len(y)):
        pyro.sample("y", dist.Normal(z[..., 0] + z[..., 1].square() / 4, 1.1), obs=y)


def _regression_data() -> dict[str, Tensor]:
    x = torch.randn(ROWS, 2)
    return {"x": x, "y": x @ torch.tensor([0.7, -1.3]) + 0.4 + 0.3 * torch.randn(ROWS)}


def _auto(guide: Callable[[Callable], AutoGuide]) -> Callable[[], Case]:
    return lambda: Case(regression, guide(regression), _regression_data(), {"batch_size": None})


def _list(model: Callable) -> AutoGuide:
    both = AutoGuideList(model)
    both.append(AutoMultivariateNormal(block(model, expose=["weight", "bias"])))
    both.append(AutoDelta(block(model, expose=["scale"])))
    return both


def _lkj() -> Case:
    return Case(correlated, AutoNormal(correlated), {"y": torch.randn(ROWS, 3)}, {"batch_size": None})


def _conjugate() -> Case:
    return Case(counts, conjugate, {"y": torch.poisson(torch.ones(ROWS, 3) * 2)}, {"batch_size": None})


def _flow() -> Case:
    return Case(bent, Flow(), {"y": torch.randn(ROWS) + 1.3}, {"batch_size": None})


GUIDES: dict[str, Callable[[], Case]] = {
    "AutoNormal": _auto(AutoNormal),
    "AutoDiagonalNormal": _auto(AutoDiagonalNormal),
    "AutoMultivariateNormal": _auto(AutoMultivariateNormal),
    "AutoLowRankMultivariateNormal": _auto(lambda model: AutoLowRankMultivariateNormal(model, rank=2)),
    "AutoDelta": _auto(AutoDelta),
    "AutoGuideList": _auto(_list),
    "AutoStructured": _auto(AutoStructured),
    "AutoIAFNormal": _auto(lambda model: AutoIAFNormal(model, hidden_dim=[6])),
    "spline flow": _flow,
    "LKJCholesky": _lkj,
    "Gamma and Dirichlet guide": _conjugate,
}
