"""The decaying average of a cost, of a score-function term: no trial moves it, and a resumed run goes on with it."""

import functools

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import TraceGraph_ELBO
from torch import nn

from pyrometer import fit
from pyrometer.inference.svi.decaying_averages import decaying_averages, preserved_averages

Y = torch.tensor([0.3, -0.1, 1.2, 2.0, 0.7])
SGD = functools.partial(torch.optim.SGD, lr=0.01)


class Score(dist.Normal):
    """A normal whose draws have no gradient."""

    has_rsample = False


class Guide(nn.Module):
    """q(z) by its score, beside the decaying average."""

    def __init__(self) -> None:
        super().__init__()
        self.loc, self.log_scale = nn.Parameter(torch.tensor(0.4)), nn.Parameter(torch.tensor(-0.6))

    def forward(self, y):  # noqa: ARG002
        baseline = {"use_decaying_avg_baseline": True, "baseline_beta": 0.7}
        pyro.sample("z", Score(self.loc, self.log_scale.exp()), infer={"baseline": baseline})


def model(y):
    z = pyro.sample("z", dist.Normal(0.0, 2.0))
    with pyro.plate("data", len(y)):
        pyro.sample("y", dist.Normal(z, 0.7), obs=y)


def train(steps, guide, **options):
    options = {"optimizer": SGD, "seed": 3, "batch_size": None, "progress": False, "compile": False, **options}
    return fit(model, guide, {"y": Y}, objective=TraceGraph_ELBO(), steps=steps, **options)


@pytest.fixture(autouse=True)
def empty_store():
    pyro.clear_param_store()
    yield
    pyro.clear_param_store()


def test_plain_steps_are_those_of_pyro():
    """Against Pyro's own gradients, same noise: the average is 0 at first, as the checks have not moved it."""
    guide, own = Guide(), Guide()
    train(5, guide)
    average = decaying_averages()["__baseline_avg_downstream_cost_z"].clone()
    pyro.clear_param_store()
    pyro.set_rng_seed(3)
    optimizer = SGD(own.parameters())
    for _ in range(5):
        optimizer.zero_grad()
        TraceGraph_ELBO().loss_and_grads(model, own, Y)
        optimizer.step()
    assert all(map(torch.equal, guide.parameters(), own.parameters()))
    assert torch.equal(average, pyro.param("__baseline_avg_downstream_cost_z").detach())


@pytest.mark.parametrize("compile", [False, True])
@pytest.mark.usefixtures("interpreted_steps")
def test_a_resumed_run_goes_on_with_the_average(tmp_path, compile):
    """Bit by bit, against one that is not interrupted."""
    whole, parts = Guide(), Guide()
    train(8, whole, compile=compile)
    pyro.clear_param_store()
    train(4, parts, compile=compile, out=tmp_path / "run")
    pyro.clear_param_store()
    train(8, parts, compile=compile, out=tmp_path / "run", resume=True)
    assert all(map(torch.equal, whole.parameters(), parts.parameters()))


def test_what_is_made_or_moved_in_a_block_is_put_back():
    train(2, Guide())
    (average,) = decaying_averages().values()
    before = average.clone()
    with preserved_averages():
        average.add_(1.0)
    assert torch.equal(average, before)


@pytest.fixture
def interpreted_steps(monkeypatch):
    from pyrometer.inference.svi.compiled import build

    monkeypatch.setattr(build, "_compiler", lambda _options: lambda function, _example: function)
