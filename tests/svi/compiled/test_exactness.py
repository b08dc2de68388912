"""Compiled steps give the numbers of plain ones, on every shape of program and objective of the benchmark's catalogue.

Most are run without the C++ compiler here, `python -m benchmarks.exactness` with it.
"""

import pytest

from pyrometer.benchmarks.exactness import CASES, LOSSES, PARAMETERS, is_exact, report
from pyrometer.benchmarks.exactness_case import Compared, compared, trained
from pyrometer.inference.svi.compiled import engine, packed, update_rule

IN_GRAPH = "compiled with the optimizer in the graph"
LOOP = f"{IN_GRAPH}, up to 100 steps a call"
BESIDE = {"SGD with momentum", "RMSprop", "NAdam"}
SINGLE = {
    "Adam with groups",
    *(
        "a plate that subsamples",
        "float64",
        "float64, parameters of no dimension",
        "Gamma and Dirichlet guide",
        "BatchNorm",
        "dropout",
    ),
    *("digit enumerated beside a style", "two streams, half supervised", "TraceGraph_ELBO, a Bernoulli guide"),
    *("score function, a Normal guide", "score function, a Bernoulli guide", "score function beside enumeration"),
    "a schedule of beta, TraceGraph_ELBO",
    "importance-weighted",
    *(f"MonteCarlo, {name}" for name in ("score_function", "leave_one_out", "vimco", "wake")),
    *("WakeSleep", "WakeSleep, asleep", "Relaxed"),
    *("a baseline that decays", "a baseline that decays, of a Bernoulli"),
    *("a baseline that learns", "a baseline that learns and decays"),
}
"""Draws that depend on data or are not few standard normals, and buffers that are written to: one step a call."""

LIKE_OTHERS = {
    "AutoDiagonalNormal",
    "AutoStructured",
    "LayerNorm",
    "RenyiELBO, particle by particle",
    "RMSprop",
    "beta",
    "MonteCarlo, sticking_the_landing",
    "MonteCarlo, leave_one_out",
    "Minimised, points",
}
"""What is left to the benchmark."""


def how(name):
    return "compiled with the optimizer beside it" if name in BESIDE else IN_GRAPH if name in SINGLE else LOOP


@pytest.mark.usefixtures("interpreted")
@pytest.mark.parametrize("name", [name for name in CASES if name not in LIKE_OTHERS])
def test_captured_steps_are_those_of_plain_pyro(name):
    """From the same seed: losses to 1e-5, parameters after 30 steps to 1e-4, and the step was taken as it can be."""
    found = compared(CASES[name])
    assert found.engine.partition(" (")[0] == how(name)
    assert found.losses <= LOSSES
    assert found.parameters <= PARAMETERS
    assert found.left_out <= 0.1 * found.elements  # two biases before a BatchNorm, out of 13 parts of that size


@pytest.mark.usefixtures("compiler")
def test_a_compiled_loop_takes_the_steps_of_plain_pyro():
    found = compared(CASES["functions with pyro.param"])
    assert found.engine.startswith(f"{LOOP} (")
    assert is_exact(found)


@pytest.mark.usefixtures("compiler")
def test_compiled_single_steps_of_two_shapes_are_those_of_plain_pyro(monkeypatch):
    """Batches of 4 and a last one of 3, which gets a graph of its own."""
    monkeypatch.setattr(engine, "SEEN_BEFORE_COMPILING", 2)
    found = compared(CASES["dropout"])
    assert found.engine.startswith(f"{IN_GRAPH}; {IN_GRAPH} (")
    assert is_exact(found)


@pytest.mark.usefixtures("interpreted")
def test_the_comparison_sees_steps_that_are_a_thousandth_too_large(monkeypatch):
    """The self-check, which is to find wrong programs and not small errors, lets them pass."""
    right = update_rule.packed_factors
    monkeypatch.setattr(packed, "packed_factors", lambda group, rate, steps: right(group, 1.001 * rate, steps))
    found = compared(CASES["functions with pyro.param"])
    assert found.engine.startswith(LOOP)
    assert found.parameters > PARAMETERS
    assert not is_exact(found)


def test_the_report_counts_what_is_exact_and_what_was_compiled():
    rows = {
        "good": Compared("compiled with x (3 s)", 1e-7, 1e-6, 0, 10),
        "far": Compared("compiled with x (3 s)", 1e-4, 1e-6, 2, 10),
        "plain": Compared("plain steps: because", 0.0, 0.0, 0, 3),
    }
    text = report(rows, 30)
    assert "| far | compiled with x | 1e-04 | 1e-06 | 2 of 10 |" in text
    assert "2 of 3 cases are within" in text
    assert "2 were compiled" in text


def test_plain_training_is_the_same_twice():
    """What a comparison finds is no difference between two plain runs: their seeds set everything."""
    one, other = (trained(CASES["VAE"], compile=False, steps=6) for _ in range(2))
    assert one.losses.equal(other.losses)
    assert all(a.equal(b) for a, b in zip(one.parameters, other.parameters, strict=True))
