"""Sparse coding: its codes against scikit-learn's lasso and their own optimality, its energy by hand."""

import math

import numpy as np
import pytest
import torch
from sklearn.decomposition import sparse_encode

from pyrometer import EnergyView
from pyrometer.models import SparseCoding


def model(atoms=7, dimensions=4):
    return SparseCoding(torch.randn(atoms, dimensions, dtype=torch.float64), noise=0.4, code_scale=0.3)


def test_the_codes_are_those_of_scikit_learns_lasso():
    own, x = model(), 2 * torch.randn(20, 4, dtype=torch.float64)
    dictionary = own.dictionary.detach().numpy()
    judge = sparse_encode(x.numpy(), dictionary, algorithm="lasso_cd", alpha=0.4**2 / 0.3, max_iter=100_000)
    found = own.codes(x, steps=20_000, tolerance=1e-12)
    np.testing.assert_allclose(found, judge, atol=1e-4)
    assert 0 < (found == 0).double().mean() < 1


def test_no_direction_leads_below_the_codes():
    own, x = model(), 2 * torch.randn(20, 4, dtype=torch.float64)
    codes = own.codes(x, steps=20_000, tolerance=1e-12)
    slope = (x - codes @ own.dictionary) @ own.dictionary.T / (0.4**2 / 0.3)  # 1 at most
    assert slope.abs().max() < 1 + 1e-6
    torch.testing.assert_close(slope[codes != 0], codes[codes != 0].sign(), rtol=0, atol=1e-6)


def test_the_energy_is_the_formula_and_least_at_the_codes():
    own, x = model(), 2 * torch.randn(5, 4, dtype=torch.float64)
    view = EnergyView(own).bind(x)
    codes = own.codes(x)
    constant = 4 * math.log(math.sqrt(2 * math.pi) * 0.4) + 7 * math.log(2 * 0.3)
    by_hand = (x - codes @ own.dictionary).square().sum(-1) / (2 * 0.4**2) + codes.abs().sum(-1) / 0.3 + constant
    energy = view.energy_per_datum({"codes": codes})
    torch.testing.assert_close(energy, by_hand)
    others = codes + 0.05 * torch.randn(200, 5, 7, dtype=torch.float64)
    assert (view.energy_per_datum({"codes": others}) > energy).all()


def test_the_length_of_an_atom_has_no_effect():
    own = model()
    longer = SparseCoding(own.atoms * torch.tensor([2.0, 5.0, 0.3, 1.0, 1.0, 7.0, 0.1])[:, None], 0.4, 0.3)
    torch.testing.assert_close(longer.dictionary, own.dictionary)


def test_bad_atoms_and_scales_are_refused():
    with pytest.raises(ValueError, match=r"\(K, D\), got \(3,\)"):
        SparseCoding(torch.ones(3), 0.1, 0.1)
    with pytest.raises(ValueError, match="or one is 0"):
        SparseCoding(torch.tensor([[1.0, 0.0], [0.0, 0.0]]), 0.1, 0.1)
    with pytest.raises(ValueError, match="must be positive, got 0.1 and -2"):
        SparseCoding(torch.eye(2), 0.1, -2)
