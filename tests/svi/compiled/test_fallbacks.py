"""What cannot be one graph is taken by plain steps, bit for bit; the result says why, and compile=True warns."""

import functools
import warnings

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.optim.clipped_adam import ClippedAdam
from torch import Tensor, nn

from pyrometer.inference.svi import compilation, fit
from pyrometer.inference.svi.compiled import build

Y = torch.tensor([0.3, -0.1, 1.2, 2.0, 0.7])
ADAM = functools.partial(torch.optim.Adam, lr=0.05)


class Location(nn.Module):
    """q(z) = N(loc, exp(log_scale)^2), or a distribution of one's choice."""

    def __init__(self, infer=None, family=dist.Normal) -> None:
        super().__init__()
        self.infer, self.family = infer or {}, family
        self.loc, self.log_scale = nn.Parameter(torch.tensor(0.4)), nn.Parameter(torch.tensor(-0.6))

    def forward(self, y: Tensor) -> None:  # noqa: ARG002
        pyro.sample("z", self.family(self.loc, self.log_scale.exp()), infer=self.infer)


def observe(z, y, scale=0.7):
    with pyro.plate("data", len(y)):
        pyro.sample("y", dist.Normal(z, scale), obs=y)


def branching(y):
    z = pyro.sample("z", dist.Normal(0.0, 2.0))
    observe(z, y, 0.7 if z > 0.3 else 1.4)


def counting(y):
    z = pyro.sample("z", dist.Normal(0.0, 2.0))
    observe(z, y, 0.5 + 0.2 * int((y > z).sum().item()))


def sequential(y):
    z = pyro.sample("z", dist.Normal(0.0, 2.0))
    for row in pyro.plate("data", len(y), subsample_size=2):
        pyro.sample(f"y_{row}", dist.Normal(z, 0.7), obs=y[row])


def numpy_noise(y):
    z = pyro.sample("z", dist.Normal(0.0, 2.0))
    observe(z, y, 0.7 + float(np.random.rand()))  # noqa: NPY002


class Counter(nn.Module):
    """A program that counts its calls, as a warm-up of one's own does."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def forward(self, y: Tensor) -> None:
        self.calls += 1
        z = pyro.sample("z", dist.Normal(0.0, 2.0))
        observe(z, y, 0.7 + 1.0 / self.calls)


def first_line(program):
    return program.__code__.co_firstlineno


def smooth(y):
    observe(pyro.sample("z", dist.Normal(0.0, 2.0)), y)


READS = "reads the value of a tensor"
CASES = {
    "a branch on a value": (lambda: branching, Location, None, f"{READS} (by __bool__, shape ())"),
    "an integer taken out": (lambda: counting, Location, None, f"{READS} (by item, shape ())"),
    "a sequential plate that subsamples": (lambda: sequential, Location, None, READS),
    "numpy's random numbers": (
        lambda: numpy_noise,
        Location,
        None,
        f"test_fallbacks.py:{first_line(numpy_noise) + 2} draws from numpy",
    ),
    "a count in Python": (Counter, Location, None, "the loss of a compiled step is "),
}

REMEMBERING = {"a count in Python"}
"""Programs that keep, in Python, what nobody can put back after a trial: the trials count."""


def train(case, compile, optimizer=ADAM):
    pyro.clear_param_store()
    model, guide, objective, _ = CASES[case]
    chosen = None if objective is None else objective()
    options = {"batch_size": None, "steps": 20, "optimizer": optimizer, "seed": 3, "progress": False}
    built = guide()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        result = fit(model(), built, {"y": Y}, objective=chosen, compile=compile, **options)
    pyro.clear_param_store()
    said = [str(one.message) for one in caught if issubclass(one.category, UserWarning)]
    return result, [one.detach() for one in built.parameters()], [one for one in said if one.startswith("fit takes")]


@pytest.mark.usefixtures("interpreted")
@pytest.mark.parametrize(
    "optimizer", [ADAM, functools.partial(ClippedAdam, lr=0.05, lrd=0.99)], ids=["Adam", "Clipped"]
)
@pytest.mark.parametrize("case", CASES)
def test_what_cannot_be_one_graph_is_taken_plainly_and_says_so(case, optimizer):
    """Against compile=False, bit by bit, with a warning that has the reason of ``Fit.engine``."""
    plain, expected, _ = train(case, False, optimizer)
    result, found, said = train(case, True, optimizer)
    assert plain.engine == "plain steps"
    assert result.engine.startswith("plain steps: ")
    assert CASES[case][-1] in result.engine
    assert said == [f"fit takes plain steps, since {result.engine.removeprefix('plain steps: ')}."]
    if case not in REMEMBERING:
        assert [row["loss"] for row in result.history] == [row["loss"] for row in plain.history]
        assert all(map(torch.equal, found, expected))


@pytest.mark.usefixtures("interpreted")
def test_auto_says_why_it_takes_plain_steps_without_a_warning(monkeypatch):
    monkeypatch.setattr(compilation, "worthwhile", lambda *_: True)
    result, _, said = train("a branch on a value", "auto")
    assert READS in result.engine
    assert said == []


def test_without_a_working_compiler_the_graph_is_run_as_it_is(monkeypatch):
    """The optimizer is torch's own then; against plain steps."""

    def broken(options):  # noqa: ARG001
        raise RuntimeError("no g++ here\nand more")

    monkeypatch.setattr(build, "_compiler", broken)
    pyro.clear_param_store()
    results, guides = {}, {}
    for compile in (True, False):
        guides[compile] = Location()
        options = {"batch_size": None, "steps": 20, "optimizer": ADAM, "seed": 3, "progress": False}
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            results[compile] = fit(smooth, guides[compile], {"y": Y}, compile=compile, **options)
        if compile:
            assert len(caught) == 1
    reason = "a graph without a compiler, which failed (RuntimeError: no g++ here)"
    assert str(caught[0].message if caught else "") in ("", f"fit takes {reason}.")
    assert results[True].engine.startswith(f"{reason} (")
    for a, b in zip(guides[True].parameters(), guides[False].parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


def test_a_compiler_that_fails_is_told_of_though_nobody_asked(monkeypatch):
    """It can be helped, and all of the training would be slower than need be."""

    def broken(options):  # noqa: ARG001
        raise RuntimeError("no g++ here")

    monkeypatch.setattr(build, "_compiler", broken)
    monkeypatch.setattr(compilation, "worthwhile", lambda *_: True)
    with pytest.warns(UserWarning, match=r"fit takes a graph without a compiler, which failed \(RuntimeError: no g"):
        fit(smooth, Location(), {"y": Y}, batch_size=None, steps=3, seed=3, progress=False)
