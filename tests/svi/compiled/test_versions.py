"""Versions of torch beside the tested ones: older ones are refused before anything is tried, newer ones are told of."""

import re
import tomllib
import warnings
from pathlib import Path

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer.autoguide import AutoMultivariateNormal
from torch import nn

from pyrometer.inference.compiler import too_old, untested, versions
from pyrometer.inference.energy.compiled import NotCompiled
from pyrometer.inference.energy.compiled import compiled as compiled_path
from pyrometer.inference.svi import compilation, fit
from pyrometer.inference.svi.compiled import engine

ROOT = Path(__file__).parents[3]
Y = torch.tensor([0.3, -0.1, 1.2, 2.0, 0.7])


class Guide(nn.Module):
    """q(z) = N(loc, exp(log_scale)^2)."""

    def __init__(self):
        super().__init__()
        self.loc, self.log_scale = nn.Parameter(torch.tensor(0.4)), nn.Parameter(torch.tensor(-0.6))

    def forward(self, y):  # noqa: ARG002 - the arguments are the model's
        pyro.sample("z", dist.Normal(self.loc, self.log_scale.exp()))


def location(y):
    z = pyro.sample("z", dist.Normal(0.0, 2.0))
    with pyro.plate("data", len(y)):
        pyro.sample("y", dist.Normal(z, 0.7), obs=y)


@pytest.fixture
def torch_is(monkeypatch):
    """A function that lets torch say it is of a version."""
    return lambda version: monkeypatch.setattr(torch, "__version__", version)


def trained(compile):
    """The result, the guide's numbers, and what was said of compiled steps."""
    guide = Guide()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        result = fit(location, guide, {"y": Y}, batch_size=None, steps=8, seed=3, progress=False, compile=compile)
    said = [str(one.message) for one in caught if issubclass(one.category, UserWarning)]
    return result, [one.detach() for one in guide.parameters()], [one for one in said if one.startswith("fit ")]


@pytest.mark.parametrize("version", ["2.6.0+cu124", "1.13.1", "2.9.1", "2.12.1"])
def test_with_an_older_torch_steps_are_plain_from_the_start(version, torch_is, monkeypatch):
    def compiling(*_args):
        raise AssertionError("something is compiled")

    monkeypatch.setattr(engine, "compiled", compiling)
    monkeypatch.setattr(engine, "as_graph", compiling)
    plain, expected, _ = trained(False)
    torch_is(version)
    result, found, said = trained(True)
    reason = f"torch {version} is here, and only torch 2.13 or later compiles all that steps need"
    assert result.engine == f"plain steps: {reason}"
    assert said == [f"fit takes plain steps, since {reason}."]
    assert [row["loss"] for row in result.history] == [row["loss"] for row in plain.history]
    assert all(map(torch.equal, found, expected))


def test_with_an_older_torch_auto_is_silent_and_paths_are_not_compiled(torch_is, monkeypatch):
    monkeypatch.setattr(compilation, "worthwhile", lambda *_: True)
    torch_is("2.6.0")
    result, _, said = trained("auto")
    assert "only torch 2.13 or later" in result.engine
    assert said == []
    with pytest.raises(NotCompiled, match=r"torch 2\.6\.0 is here"):
        compiled_path(lambda u: (u.sum(-1), u.sum(-1)), torch.ones(2, 2, 2))


@pytest.mark.usefixtures("interpreted")
@pytest.mark.parametrize("version", ["2.15.0", "2.100.0a0+git1234", "3.0.1"])
def test_with_a_newer_torch_steps_are_compiled_and_whoever_asks_is_told(version, torch_is, monkeypatch):
    torch_is(version)
    result, _, said = trained(True)
    assert result.engine.startswith("compiled")
    (words,) = said
    assert words.startswith(f"fit is asked for compiled steps, and torch {version} is newer than 2.14, the last that")
    monkeypatch.setattr(compilation, "worthwhile", lambda *_: True)
    assert trained("auto")[2] == []


@pytest.mark.parametrize("version", ["2.13.0", "2.13.0+cpu", "2.14.1"])
def test_a_tested_version_is_neither_old_nor_new(version, torch_is):
    torch_is(version)
    assert too_old() == untested() == ""


def test_the_package_asks_for_the_oldest_tested_torch_and_pins_one_of_the_tested():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    (torch_needed,) = [one for one in project["dependencies"] if one.startswith("torch")]
    (pin,) = re.findall(r"^torch==(\d+)\.(\d+)", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    assert torch_needed.startswith(f"torch>={'.'.join(map(str, versions.OLDEST))},")
    assert versions.OLDEST <= tuple(map(int, pin)) <= versions.NEWEST


def correlated(y):
    scale = pyro.sample("scale", dist.LogNormal(0.0, 0.5))
    z = pyro.sample("z", dist.Normal(0.0, 2.0).expand([3]).to_event(1))
    factor = torch.linalg.cholesky(scale * FACTOR @ FACTOR.T + 0.1 * torch.eye(3))
    with pyro.plate("data", len(y)):
        pyro.sample("y", dist.MultivariateNormal(z, scale_tril=factor), obs=y)


FACTOR = torch.tensor([[2.0, 0.0, 0.0], [0.3, 1.5, 0.0], [0.1, 0.2, 0.9]])


@pytest.mark.usefixtures("compiler")
def test_this_version_compiles_a_loop_of_steps_that_solve_triangular_systems():
    """What older versions fail at, after minutes; against plain steps."""
    y = torch.linspace(-1.3, 2.0, 12).sin().reshape(4, 3)
    how = {"batch_size": None, "steps": 30, "seed": 3, "progress": False}
    plain, fast = (
        fit(correlated, AutoMultivariateNormal(correlated), {"y": y}, compile=compile, **how)
        for compile in (False, True)
    )
    assert "up to 100 steps a call" in fast.engine
    found, expected = ([row["loss"] for row in result.history] for result in (fast, plain))
    assert found == pytest.approx(expected, rel=1e-4)
