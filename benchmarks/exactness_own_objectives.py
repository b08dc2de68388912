"""Shapes of the package's own objectives, and of score-function terms with a baseline."""

from collections.abc import Callable
from typing import Any

import pyro
import pyro.distributions as dist
import torch
from pyro.infer import TraceGraph_ELBO
from torch import Tensor, nn

from pyrometer import MonteCarlo
from pyrometer.inference.svi import Decomposed, Marginalised, Minimised, Relaxed, SummedLabel, WakeSleep, estimators

from .exactness_case import Case
from .exactness_objectives import Location, Switch, location, switch

__all__ = ["OWN_OBJECTIVES"]

DATA = 7


class Mixture(nn.Module):
    """k_n of three, z_n ~ N(0, 1.5), y_n ~ N(mean_k + z_n, scale); or the guide q(k_n | y_n) q(z_n | y_n, k_n).

    Args:
        guides: it is the guide.
        hot: k is one-hot.
        joined: z of the guide depends on k.
    """

    def __init__(self, guides: bool = False, hot: bool = False, joined: bool = True) -> None:
        super().__init__()
        self.guides, self.hot, self.joined = guides, hot, joined
        self.means, self.log_scale = nn.Parameter(torch.tensor([-0.5, 0.1, 0.7])), nn.Parameter(torch.tensor(-0.3))
        self.slopes = nn.Parameter(torch.tensor([0.2, -0.1, 0.4]))

    def forward(self, y: Tensor | None = None) -> Any:
        """The program."""
        kind = dist.OneHotCategorical if self.hot else dist.Categorical
        with pyro.plate("data", DATA if y is None else len(y)):
            if self.guides:
                assert y is not None
                k = pyro.sample("k", kind(logits=y.unsqueeze(-1) * self.slopes))
                loc = 0.3 * y + (self._mean(k) if self.joined else 0.0)
                return pyro.sample("z", dist.Normal(loc, self.log_scale.exp()))
            k = pyro.sample("k", kind(torch.ones(3) / 3))
            z = pyro.sample("z", dist.Normal(0.0, 1.5))
            return pyro.sample("y", dist.Normal(self._mean(k) + z, self.log_scale.exp()), obs=y)

    def _mean(self, k: Tensor) -> Tensor:
        return k @ self.means if self.hot else self.means[k]


class Clusters(nn.Module):
    """k_n of three, y_n ~ N(mean_k, 0.5)."""

    def __init__(self) -> None:
        super().__init__()
        self.means = nn.Parameter(torch.tensor([-0.5, 0.1, 0.7]))

    def forward(self, y: Tensor | None = None) -> Any:
        """The program."""
        with pyro.plate("data", DATA if y is None else len(y)):
            k = pyro.sample("k", dist.Categorical(torch.ones(3) / 3))
            return pyro.sample("y", dist.Normal(self.means[k], 0.5), obs=y)


class Baseline(Location):
    """q(z) by its score, beside a baseline."""

    def __init__(self, decays: bool, learns: bool) -> None:
        super().__init__(_Score)
        self.decays, self.net = decays, nn.Linear(DATA, 1) if learns else None

    def forward(self, y: Tensor) -> None:
        """The program."""
        options: dict[str, Any] = {"use_decaying_avg_baseline": True} if self.decays else {}
        if self.net is not None:
            options |= {"nn_baseline": self._guess, "nn_baseline_input": y}
        infer: Any = {"baseline": options}
        pyro.sample("z", self.family(self.loc, self.log_scale.exp()), infer=infer)

    def _guess(self, y: Tensor) -> Tensor:
        assert self.net is not None
        return self.net(y).sum()


class _Score(dist.Normal):
    """A normal whose draws have no gradient."""

    has_rsample = False


def _case(
    objective: Callable[[], Any], model: Callable[[], Callable], guide: Callable[[], Callable] | None, **options: Any
) -> Callable[[], Case]:
    def build() -> Case:
        data = {"y": torch.randn(DATA) + 0.8}
        return Case(
            model(), guide() if guide else None, data, {"batch_size": None, "objective": objective(), **options}
        )

    return build


def _rising(progress: float) -> float:
    return 0.3 + 0.7 * progress


def _falling(progress: float) -> float:
    return 1.0 - 0.5 * progress


def _guide(**kind: bool) -> Callable[[], nn.Module]:
    return lambda: Mixture(guides=True, **kind)


def _bound(estimator: estimators.Estimator) -> Callable[[], MonteCarlo]:
    return lambda: MonteCarlo(estimator, 3)


def _decaying() -> nn.Module:
    return Switch(infer={"baseline": {"use_decaying_avg_baseline": True, "baseline_beta": 0.7}})


BY_PATH = estimators.reparameterised, estimators.sticking_the_landing, estimators.importance_weighted
BY_SCORE = estimators.score_function, estimators.leave_one_out, estimators.vimco, estimators.wake
POINTS = {"k": torch.arange(3)}

OWN_OBJECTIVES: dict[str, Callable[[], Case]] = {
    **{f"MonteCarlo, {one.__name__}": _case(_bound(one), lambda: location, Location) for one in BY_PATH},
    **{f"MonteCarlo, {one.__name__}": _case(_bound(one), Mixture, _guide()) for one in BY_SCORE},
    "WakeSleep": _case(lambda: WakeSleep(4, 0.5), Mixture, _guide()),
    "WakeSleep, asleep": _case(lambda: WakeSleep(4, 1.0), Mixture, _guide()),
    "Decomposed": _case(lambda: Decomposed(20, weights={"between": 3.0}), Mixture, _guide(joined=False)),
    "Minimised": _case(Minimised, Clusters, None),
    "Minimised, points": _case(lambda: Minimised(POINTS), Clusters, None),
    "Marginalised": _case(lambda: Marginalised(POINTS), Clusters, None, beta=_rising),
    "SummedLabel": _case(lambda: SummedLabel("k", price=5.0), Mixture, _guide(joined=False)),
    "Relaxed": _case(lambda: Relaxed(_falling), lambda: Mixture(hot=True), _guide(hot=True)),
    "a baseline that decays": _case(TraceGraph_ELBO, lambda: location, lambda: Baseline(decays=True, learns=False)),
    "a baseline that decays, of a Bernoulli": _case(TraceGraph_ELBO, lambda: switch, _decaying),
    "a baseline that learns": _case(TraceGraph_ELBO, lambda: location, lambda: Baseline(decays=False, learns=True)),
    "a baseline that learns and decays": _case(
        TraceGraph_ELBO, lambda: location, lambda: Baseline(decays=True, learns=True)
    ),
}
