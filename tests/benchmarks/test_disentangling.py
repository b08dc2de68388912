"""The benchmark of disentangling: its objectives against each other, and its table against made-up numbers."""

import pyro
import pytest
import torch

from pyrometer.benchmarks.disentangling import ENTRIES, Measured, beta_vae, measure, pair, report
from pyrometer.data import FactorDataset, shapes
from pyrometer.inference.svi import Decomposed


def test_a_beta_vae_weighs_every_term_of_the_divergence_alike():
    """Two ways to the same objective: tempering on the prior's measure, and one weight on all terms but the first."""
    model, guide = (program.double() for program in pair(has_kind=False))
    image = torch.bernoulli(torch.rand(7, 16, 16)).double()
    same = Decomposed(7, weights={"information": 4.0, "between": 4.0, "within": 4.0, "marginal": 4.0})
    pyro.set_rng_seed(3)
    tempered = beta_vae(4.0, model, guide, image)
    pyro.set_rng_seed(3)
    assert tempered.item() == pytest.approx(same(model, guide, image=image).item(), abs=1e-8)


def test_every_entry_is_trained_and_measured():
    whole = shapes()
    chosen = (whole.factors["across"] % 3 == 0) & (whole.factors["down"] == 2)
    data = FactorDataset(
        whole.image[chosen], {name: value[chosen] for name, value in whole.factors.items() if name != "down"}
    )
    for entry in ENTRIES:
        found = measure(entry, data, seed=3, epochs=1)
        assert found.gaps.keys() == {"kind", "size", "angle", "across"}
        assert 0 <= found.mig < 1
        assert found.mig == pytest.approx(sum(found.gaps.values()) / 4)


def test_the_table_has_means_over_seeds_and_their_spread():
    measured = [
        Measured("A", 0, 0.25, {"kind": 0.0, "size": 0.5}, 30.0, 4.0),
        Measured("A", 1, 0.5, {"kind": 0.4, "size": 0.6}, 32.0, 5.0),
        Measured("B", 0, 0.125, {"kind": 0.0, "size": 0.25}, 28.0, 3.0),
    ]
    lines = report(measured).splitlines()
    assert lines[0] == "| objective | MIG | over seeds | kind | size | -ELBO | information |"
    assert lines[2] == "| A | 0.375 | 0.25-0.50 | 0.20 | 0.55 | 31.00 | 4.50 |"
    assert lines[3] == "| B | 0.125 | 0.12-0.12 | 0.00 | 0.25 | 28.00 | 3.00 |"
