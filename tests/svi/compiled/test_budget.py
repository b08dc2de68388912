"""Graphs of long Python loops are left plain, in a sentence, unless they are asked for."""

import functools

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer.autoguide import AutoNormal

from pyrometer.inference.svi import compilation, fit
from pyrometer.inference.svi.compiled import budget, capture
from pyrometer.inference.svi.compiled.budget import LARGE, SMALL, affordable
from pyrometer.inference.svi.compiled.traceable import NotTraceable

SERIES = {"y": torch.linspace(-1.0, 1.0, 20)}


def chain(y):
    """A random walk in a Python loop."""
    x = torch.tensor(0.0)
    for at, value in enumerate(y):
        x = pyro.sample(f"x_{at}", dist.Normal(x, 0.5))
        pyro.sample(f"y_{at}", dist.Normal(x, 0.3), obs=value)


def train(data, **options):
    pyro.clear_param_store()
    return fit(chain, AutoNormal(chain), data, steps=3, batch_size=None, seed=0, progress=False, **options)


@pytest.mark.usefixtures("interpreted")
def test_a_long_loop_is_left_plain_unless_it_is_asked_for(monkeypatch):
    monkeypatch.setattr(compilation, "worthwhile", lambda *_: True)
    unasked, short = train(SERIES), train({"y": SERIES["y"][:3]})
    assert "operations, which would take about" in unasked.engine
    assert "write loops over sites as a pyro.plate, or ask for it by compile=True" in unasked.engine
    assert short.engine.startswith("compiled")
    assert train(SERIES, compile=True).engine.startswith("compiled")


@pytest.mark.usefixtures("interpreted")
def test_beyond_the_largest_nothing_is_compiled_and_nobody_is_told_to_ask(monkeypatch):
    monkeypatch.setattr("pyrometer.inference.svi.compiled.engine.LARGE", 100)
    monkeypatch.setattr(budget, "LARGE", 100)
    with pytest.warns(UserWarning, match=r"more than 100 operations, which .* as a pyro.plate\.$"):
        assert train(SERIES, compile=True).engine.startswith("plain steps: the step has more than 100 operations")


def test_tracing_ends_where_a_graph_is_too_large(plain):
    """Few of the sites are visited."""
    visited = []

    def program(y):
        z = pyro.sample("z", dist.Normal(0.0, 2.0))
        for at, value in enumerate(y):
            visited.append(at)
            pyro.sample(f"y_{at}", dist.Normal(z, 0.3), obs=value)

    batch = {"y": torch.linspace(-1.0, 1.0, 300)}
    with budget.budget(60), pytest.raises(NotTraceable, match="more than 60 operations"):
        capture.capture(plain(program).pair, batch, {})
    assert max(visited) < 60


def test_a_long_training_affords_a_large_graph():
    sizes = [affordable(saved) for saved in (0.0, 100.0, 1e3, 1e9)]
    assert sizes == sorted(sizes)
    assert (sizes[0], sizes[-1]) == (SMALL, LARGE)


@pytest.mark.usefixtures("interpreted")
def test_a_resumed_run_has_the_budget_that_it_began_with(tmp_path, monkeypatch):
    """On a machine that is slow at first, and fast when the run is resumed."""
    monkeypatch.setattr(compilation, "worthwhile", lambda *_: True)
    start = functools.partial(fit, chain, AutoNormal(chain), SERIES, batch_size=None, seed=0, progress=False)
    monkeypatch.setattr(compilation, "affordable", lambda _: LARGE)
    assert start(steps=2, out=tmp_path / "run").engine.startswith("compiled")
    monkeypatch.setattr(compilation, "affordable", lambda _: SMALL)
    assert start(steps=4, out=tmp_path / "run", resume=True).engine.startswith("compiled")
    assert start(steps=4, out=tmp_path / "new").engine.startswith("plain steps")
