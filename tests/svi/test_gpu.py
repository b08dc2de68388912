"""On a GPU a training and an energy are those of the processor. Skipped where there is no GPU."""

import copy
import functools

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer.autoguide import AutoDelta
from torch import nn

from pyrometer import EnergyView, fit

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no GPU here"),
]
GPU = "cuda"
Y = torch.linspace(-1.0, 2.0, 64)
ADAM = functools.partial(torch.optim.Adam, lr=0.02)


class Curve(nn.Module):
    """y ~ N(f(x) + z, 0.7), z ~ N(0, 2), f a small network."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.network = nn.Sequential(nn.Linear(1, 8), nn.Tanh(), nn.Linear(8, 1))

    def forward(self, x, y):
        z = pyro.sample("z", dist.Normal(0.0, 2.0))
        with pyro.plate("data", len(Y), subsample=y):
            pyro.sample("y", dist.Normal(self.network(x[:, None])[:, 0] + z, 0.7), obs=y)


class Guide(nn.Module):
    """q(z), normal."""

    def __init__(self) -> None:
        super().__init__()
        self.loc, self.log_scale = nn.Parameter(torch.tensor(0.4)), nn.Parameter(torch.tensor(-0.6))

    def forward(self, x, y):  # noqa: ARG002
        pyro.sample("z", dist.Normal(self.loc, self.log_scale.exp()))


def trained(guide, accelerator, **options):
    model, data = Curve(), {"x": Y.sin(), "y": Y}
    options = {"batch_size": 16, "epochs": 10, "seed": 3, "optimizer": ADAM, "progress": False, **options}
    result = fit(model, guide(model), data, accelerator=accelerator, **options)
    return result, [weight.detach() for weight in model.parameters()]


def test_a_training_without_noise_is_that_of_the_processor():
    """By weights: AutoDelta draws nothing but its start."""
    start = {"init_loc_fn": lambda site: torch.zeros(())}  # noqa: ARG005
    here, there = (
        trained(lambda model: AutoDelta(model, **start), accelerator, compile=False) for accelerator in ("cpu", GPU)
    )
    assert {weight.device.type for weight in there[1]} == {GPU}
    for a, b in zip(here[1], there[1], strict=True):
        torch.testing.assert_close(a, b.cpu(), rtol=1e-4, atol=1e-6)


def test_compiled_steps_are_the_plain_ones():
    plain, fast = (trained(lambda _: Guide(), GPU, compile=compile) for compile in (False, True))
    assert fast[0].engine.startswith("compiled")
    assert fast[0].loss == pytest.approx(plain[0].loss, rel=1e-5)
    for a, b in zip(plain[1], fast[1], strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)


def test_energies_are_those_of_the_processor():
    model, z = Curve(), torch.tensor([0.3, -1.0])
    here = EnergyView(model).bind(x=Y.sin(), y=Y).energy({"z": z})
    on_gpu = copy.deepcopy(model).to(GPU)
    there = EnergyView(on_gpu).bind(x=Y.sin().to(GPU), y=Y.to(GPU)).energy({"z": z.to(GPU)})
    torch.testing.assert_close(here, there.cpu(), rtol=1e-5, atol=1e-5)
