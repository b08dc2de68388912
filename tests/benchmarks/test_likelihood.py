"""The likelihoods of binarised images: estimates against values made up for the purpose, and a short training."""

from dataclasses import replace

import pytest
import torch

from pyrometer.benchmarks import likelihood
from pyrometer.benchmarks.likelihood import Job, Measured, measured, report, trained

SIGMAS = 4.3  # two-sided failure rate 2e-5 of a true claim


def test_numbers_have_their_spread_and_their_error(tmp_path):
    """Oracle: by hand; the standard error of a mean of two is sqrt(0.3^2 + 0.4^2) / 2 = 0.25."""
    jobs = [Job(5, seed, 120, 100, tmp_path) for seed in (0, 1)]
    jobs += [Job(5, 0, 240, 100, tmp_path), Job(1, 0, 400, 100, tmp_path)]
    ones = [Measured((86.0, 0.3), (86.2, 0.0), 90.0, 0, 600.0), Measured((87.0, 0.4), (87.2, 0.0), 91.0, 0, 1200.0)]
    ones += [Measured((85.0, 0.2), (85.2, 0.1), 89.0, 0, 1800.0)]
    text = report(jobs, [*ones, Measured((88.0, 0.1), (88.1, 0.1), 92.0, 3, None)])
    assert "| 5 | 120 | 2 | **86.50 ± 0.71 (0.25)** | 86.70 ± 0.71 (0.00) | 90.50 ± 0.71 | 15.0 | IWAE" in text
    assert "| 5 | 240 | 1 | **85.00 (0.20)** | 85.20 (0.10) | 89.00 | 30.0 | IWAE" in text
    assert "| 1 | 400 | 1 | **88.00 (0.10)** | 88.10 (0.10) | 92.00 |  | VAE 86.76 (1) |" in text


def test_a_mean_of_all_is_moved_by_what_a_few_are_off():
    """Oracle: values whose differences are known; the error covers them as often as it says."""
    coarse, away = 20 * torch.randn(400, 1000), 0.5 * torch.randn(400, 50) - 0.7
    chosen = torch.randperm(1000)[:50]
    found = [likelihood._moved(row, chosen, row[chosen] + off) for row, off in zip(coarse, away, strict=True)]
    z = torch.tensor([(value - row.mean().item() + 0.7) / e for (value, e), row in zip(found, coarse, strict=True)])
    assert z.mean().abs() < SIGMAS / 400**0.5
    assert 0.9 < z.std() < 1.2
    assert found[0][1] == pytest.approx(away[0].std().item() / 50**0.5, rel=1e-4)


@pytest.mark.parametrize("draws", [1, 3])
def test_a_short_training_is_measured_in_both_ways_and_not_done_again(draws, tmp_path, monkeypatch):
    """Oracle: quadrature in the plane."""
    monkeypatch.setattr(likelihood, "SETTINGS", {"data": "digits", "latents": 2, "hidden": 20, "redraw": True})
    monkeypatch.setattr(likelihood, "FINE", 500)
    made, summary = trained(draws, 3, 2, tmp_path / "run", precision="32-true")
    assert (made.objective.draws if draws > 1 else 1) == draws
    assert summary["cpu_seconds"] > 0
    made = replace(made, held_out={"image": made.held_out["image"][:20]})
    found = measured(made, 6, summary["cpu_seconds"])
    exact = made.view().free_energy(method="quadrature").per_datum.mean().item()
    assert found.annealed[0] == pytest.approx(exact, abs=SIGMAS * found.annealed[1] + 0.2)  # it has an error of its own
    assert exact - SIGMAS * found.importance[1] - 0.1 < found.importance[0] < found.negative_elbo
    assert trained(draws, 3, 2, tmp_path / "run", precision="32-true")[1] == summary


def test_an_interrupted_training_does_not_tell_what_it_cost(tmp_path, monkeypatch):
    monkeypatch.setattr(likelihood, "SETTINGS", {"data": "digits", "latents": 2, "hidden": 20, "redraw": True})

    def interrupt(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(likelihood, "tighter_bound", interrupt)
        with pytest.raises(KeyboardInterrupt):
            trained(1, 3, 2, tmp_path / "run", precision="32-true")
    assert trained(1, 3, 2, tmp_path / "run", precision="32-true")[1]["cpu_seconds"] is None
