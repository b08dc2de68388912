"""Shapes of programs: minibatches, masks, enumeration, chains, stochastic modules, parameters in Pyro's store."""

from collections.abc import Callable
from typing import Any

import pyro
import pyro.distributions as dist
import pyro.poutine as poutine
import torch
from pyro.infer import TraceEnum_ELBO, config_enumerate
from pyro.infer.autoguide import AutoNormal
from pyro.nn import PyroModule, PyroSample
from torch import Tensor, nn
from torch.distributions import constraints

from .exactness_case import Case

__all__ = ["PROGRAMS"]

ROWS = 11


def shared_mean(y: Tensor) -> None:
    """A mean of all 11 data, of which each batch has some."""
    mean = pyro.sample("mean", dist.Normal(0.0, 2.0))
    with pyro.plate("data", ROWS, subsample=y):
        pyro.sample("y", dist.Normal(mean, 0.5), obs=y)


def subsampling(y: Tensor) -> None:
    """A mean of all 11 data, of which the plate takes 4 at random."""
    mean = pyro.sample("mean", dist.Normal(0.0, 2.0))
    with pyro.plate("rows", len(y), subsample_size=4) as rows:
        pyro.sample("y", dist.Normal(mean, 0.5), obs=y[rows])


def masked(y: Tensor, seen: Any) -> None:
    """Each datum has a latent; some data are not seen, some latents count half."""
    with pyro.plate("data", len(y)):
        with poutine.scale(scale=0.5):
            z = pyro.sample("z", dist.Normal(0.0, 2.0))
        with poutine.mask(mask=seen):
            pyro.sample("y", dist.Normal(z, 0.5), obs=y)
        pyro.sample("sign", dist.Bernoulli(logits=z).mask(~seen), obs=(y > 0).float())


class Amortised(nn.Module):
    """q(z | y), linear."""

    def __init__(self) -> None:
        super().__init__()
        self.slope, self.scale = nn.Parameter(torch.tensor(0.3)), nn.Parameter(torch.tensor(-0.4))

    def forward(self, y: Tensor, seen: Tensor) -> None:  # noqa: ARG002 - the arguments are the model's
        """The program."""
        with pyro.plate("data", len(y)), poutine.scale(scale=0.5):
            pyro.sample("z", dist.Normal(self.slope * y, self.scale.exp()))


@config_enumerate
def mixture(y: Tensor) -> None:
    """Three components, of which one is summed out."""
    weights = pyro.sample("weights", dist.Dirichlet(torch.ones(3) * 2))
    with pyro.plate("components", 3):
        means = pyro.sample("means", dist.Normal(0.0, 3.0))
    with pyro.plate("data", len(y)):
        label = pyro.sample("label", dist.Categorical(weights))
        pyro.sample("y", dist.Normal(means[label], 0.7), obs=y)


def labels(y: Tensor) -> None:
    """Two binary causes of each datum."""
    with pyro.plate("data", len(y)):
        a = pyro.sample("a", dist.Bernoulli(0.3))
        b = pyro.sample("b", dist.Bernoulli(0.6))
        pyro.sample("y", dist.Normal(a - 2 * b + 0.5 * a * b, 0.8), obs=y)


class Labels(nn.Module):
    """q(a | y) q(b | y, a), both enumerated in the guide."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Parameter(torch.randn(2)), nn.Parameter(torch.randn(3))

    def forward(self, y: Tensor) -> None:
        """The program."""
        enumerate_: Any = {"enumerate": "parallel"}
        with pyro.plate("data", len(y)):
            a = pyro.sample("a", dist.Bernoulli(logits=self.first[0] + self.first[1] * y), infer=enumerate_)
            logits = self.second[0] + self.second[1] * y + self.second[2] * a
            pyro.sample("b", dist.Bernoulli(logits=logits), infer=enumerate_)


@config_enumerate
def hidden_markov(y: Tensor) -> None:
    """Two hidden states that stay with a probability that is learnt; series of 3."""
    stay = pyro.sample("stay", dist.Beta(3.0, 2.0))
    with pyro.plate("states", 2):
        means = pyro.sample("means", dist.Normal(0.0, 2.0))
    with pyro.plate("data", len(y)):
        state: Tensor = torch.tensor(0)
        for t in pyro.markov(range(y.shape[1])):
            p = torch.where(state == 1, stay, 1 - stay)
            state = pyro.sample(f"state_{t}", dist.Bernoulli(p)).long()
            pyro.sample(f"y_{t}", dist.Normal(means[state], 0.6), obs=y[:, t])


class BayesianNetwork(PyroModule):
    """A hidden layer whose weights are latent; PyroModules within one another."""

    def __init__(self) -> None:
        super().__init__()
        linear: Any = PyroModule[nn.Linear]
        self.hidden, self.last = linear(2, 3), linear(3, 1)
        self.hidden.weight = PyroSample(dist.Normal(torch.zeros(3, 2), 1.0).to_event(2))
        self.noise: Any = PyroSample(dist.HalfNormal(0.7))

    def forward(self, x: Tensor, y: Tensor) -> None:
        """The program."""
        noise = self.noise
        mean = self.last(self.hidden(x).tanh()).squeeze(-1)
        with pyro.plate("data", len(x)):
            pyro.sample("y", dist.Normal(mean, noise + 0.1), obs=y)


def stored(y: Tensor) -> None:
    """A scale in Pyro's store, under a constraint; data that the program closes over."""
    scale = pyro.param("scale", torch.tensor(0.8), constraint=constraints.interval(0.1, 3.0))
    mean = pyro.sample("mean", dist.Normal(OFFSETS.sum(), 2.0))
    with pyro.plate("data", len(y)):
        pyro.sample("y", dist.StudentT(3.0, mean + OFFSETS[: len(y)], scale), obs=y)


def stored_guide(y: Tensor) -> None:  # noqa: ARG001
    """Parameters in Pyro's store, one of them the exponential of another's."""
    spread = pyro.param("spread", torch.tensor(0.3), constraint=constraints.greater_than(0.01))
    pyro.sample("mean", dist.Normal(pyro.param("loc", torch.tensor(-0.7)), spread))


OFFSETS = torch.linspace(-0.3, 0.5, ROWS)


def _pyro_module() -> Case:
    network = nn.Sequential(nn.Linear(1, 4), nn.Tanh(), nn.Linear(4, 2))

    def guide(y: Tensor) -> None:
        net = pyro.module("network", network)
        loc, scale = net(y[:, None]).unbind(-1)
        with pyro.plate("data", len(y)):
            pyro.sample("z", dist.Normal(loc, scale.exp()))

    def model(y: Tensor) -> None:
        with pyro.plate("data", len(y)):
            z = pyro.sample("z", dist.Normal(0.0, 1.5))
            pyro.sample("y", dist.Normal(z, 0.5), obs=y)

    return Case(model, guide, _values(), {"batch_size": 4})


def _double(shape: tuple[int, ...]) -> Case:
    def model(y: Tensor) -> None:
        mean = pyro.sample("mean", dist.Normal(y.new_zeros(shape), y.new_tensor(2.0)).to_event(len(shape))).sum()
        with pyro.plate("data", len(y)):
            pyro.sample("y", dist.Normal(mean, y.new_tensor(0.5)), obs=y)

    class Guide(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            values = (torch.full(shape, value, dtype=torch.float64) for value in (0.3, -0.6))
            self.loc, self.scale = map(nn.Parameter, values)

        def forward(self, y: Tensor) -> None:  # noqa: ARG002
            pyro.sample("mean", dist.Normal(self.loc, self.scale.exp()).to_event(len(shape)))

    return Case(model, Guide(), {"y": _values()["y"].double()}, {"batch_size": None})


def _values(rows: int = ROWS) -> dict[str, Tensor]:
    return {"y": torch.randn(rows) * 1.5 + 0.7}


def _network() -> Case:
    model = BayesianNetwork()
    x = torch.randn(ROWS, 2)
    return Case(model, AutoNormal(model), {"x": x, "y": x.prod(-1)}, {"batch_size": None})


def _chain() -> Case:
    guide = AutoNormal(poutine.block(hidden_markov, expose=["stay", "means"]))
    return Case(hidden_markov, guide, {"y": torch.randn(6, 3)}, {"batch_size": None, "objective": TraceEnum_ELBO()})


def _mixture() -> Case:
    guide = AutoNormal(poutine.block(mixture, hide=["label"]))
    return Case(mixture, guide, _values(), {"batch_size": None, "objective": TraceEnum_ELBO()})


PROGRAMS: dict[str, Callable[[], Case]] = {
    "minibatches, the last one short": lambda: Case(shared_mean, AutoNormal(shared_mean), _values(), {"batch_size": 4}),
    "a plate that subsamples": lambda: Case(subsampling, AutoNormal(subsampling), _values(), {"batch_size": None}),
    "masks and scales": lambda: Case(
        masked, Amortised(), {**_values(), "seen": torch.arange(ROWS) % 3 > 0}, {"batch_size": 4}
    ),
    "enumeration in the model": _mixture,
    "enumeration in the guide": lambda: Case(
        labels, Labels(), _values(), {"batch_size": 5, "objective": TraceEnum_ELBO()}
    ),
    "pyro.markov, enumerated": _chain,
    "PyroSample in PyroModules": _network,
    "functions with pyro.param": lambda: Case(stored, stored_guide, _values(), {"batch_size": None}),
    "pyro.module": _pyro_module,
    "float64": lambda: _double((2,)),
    "float64, parameters of no dimension": lambda: _double(()),
}
