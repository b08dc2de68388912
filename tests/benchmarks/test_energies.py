"""The benchmark of a VAE's energies: its tables say what was measured, on a small VAE of three latents."""

import math

import pyro
import pytest
import torch
import xarray as xr

from pyrometer import EnergyView
from pyrometer.benchmarks import energies
from pyrometer.benchmarks.energies import Estimate, annealed, by_importance, gap_table, report, sandwich
from pyrometer.benchmarks.trained_vae import Trained, trained_vae
from pyrometer.guides import GaussianEncoder
from pyrometer.models import VAE
from pyrometer.recipes.run import run


@pytest.fixture
def small():
    """An untrained pair at four images of 2 x 3 pixels."""
    torch.manual_seed(4)
    model, guide = VAE((2, 3), latents=3, hidden=5), GaussianEncoder((2, 3), latents=3, hidden=5)
    image = torch.bernoulli(torch.full((4, 2, 3), 0.4))
    return Trained(model, guide, EnergyView(model).bind(image=image))


def test_annealing_and_importance_agree_on_a_small_vae(small, monkeypatch):
    """The means over images of two methods, whose errors are independent."""
    monkeypatch.setattr(energies, "PRIOR_TEMPERATURES", 60)
    monkeypatch.setattr(energies, "TEMPERATURES", 50)
    from_guide, from_prior, longer = annealed(small)
    drawn = by_importance(small)
    assert "from the guide, 16 chains, 50 temperatures" in from_guide.name
    assert "from the prior, 16 chains, 60 temperatures" in longer.name
    assert "5,000 draws" in drawn.name
    for one in (from_guide, from_prior, longer):
        assert abs(one.value - drawn.value) < 4.3 * math.hypot(one.error, drawn.error)


def test_the_sandwich_of_a_small_vae_is_narrow_and_its_error_is_over_images(small):
    pyro.set_rng_seed(2)
    mean, single = sandwich(small, 50)
    assert abs(mean.value) < 4.3 * mean.error + 0.05
    assert single.value > mean.value
    pyro.set_rng_seed(2)
    widths = small.view.free_energy(method="bidirectional", guide=small.guide, chains=16, temperatures=50).evidence
    assert mean.value == pytest.approx(widths["width"].mean().item())
    assert single.error == pytest.approx(widths["width_single"].std().item() / 2)


def columns(**values):
    return {f"{name}_per_datum": ("data", value) for name, value in values.items()}


def test_the_gaps_are_means_over_images_with_errors_in_quadrature():
    gaps = xr.Dataset(columns(free_energy=[5.0, 7.0], free_energy_error=[0.3, 0.4], zero_temperature=[1.0, 2.0]))
    lowest, annealed_to = gap_table(gaps)
    assert lowest.value == 1.5
    assert math.isnan(lowest.error)
    assert annealed_to.value == 6.0
    assert annealed_to.error == pytest.approx(0.25)


def test_a_withheld_error_is_counted():
    gaps = xr.Dataset(columns(free_energy=[5.0, 7.0], free_energy_error=[0.3, math.nan]))
    (found,) = gap_table(gaps)
    assert found.remark == "withheld on 1"


def test_the_report_has_every_number_with_its_error():
    one = Estimate("annealing", 93.1234, 0.0129, "3 s")
    text = report([one], [Estimate("F_inf", 80.0, math.nan)], [Estimate("a single chain", 0.17, 0.03)])
    assert "| annealing | 93.123 | 0.013 | 3 s |" in text
    assert "| F_inf | 80.000 | - |  |" in text
    assert "| a single chain | 0.170 | 0.030 |  |" in text


def test_a_run_with_other_latents_is_refused(tmp_path):
    """The embedded digits' VAE of four latents lies where one of two should."""
    run("vae", {"latents": 4, "hidden": 4}, tmp_path / "vae-mnist-2", epochs=1, progress=False)
    with pytest.raises(ValueError, match="with 2 latents"):
        trained_vae(2, slice(0, 3), tmp_path)
    found = trained_vae(4, slice(1, 3), (tmp_path / "vae-mnist-2").rename(tmp_path / "vae-mnist-4").parent)
    assert found.view.structure.size == 2
