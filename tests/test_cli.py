"""The command line, run in the process on small settings."""

import json

import arviz as az
import pytest
import torch
import xarray as xr
from typer.testing import CliRunner

from pyrometer.cli import app
from pyrometer.recipes.run import open_run

SMALL = ["--set", "size=60", "--epochs", "2", "--quiet"]


def cells(line):
    """The words of a table's row."""
    return line.replace("│", " ").split()


@pytest.fixture
def call(monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")

    def call(*words, code=0):
        result = CliRunner().invoke(app, [str(word) for word in words])
        assert result.exit_code == code, result.output
        return result.output

    return call


@pytest.fixture
def run(call, tmp_path):
    call("fit", "gaussian_mixture", *SMALL, "--out", tmp_path / "run")
    return tmp_path / "run"


def test_help_teaches_and_list_lists(call):
    assert "pyrometer fit ssvae --data mnist --labels 100" in call("fit", "--help")
    listed = call("list")
    assert "gaussian_mixture" in listed
    assert "components=4" in listed


def test_a_fit_leaves_a_run(run):
    summary = json.loads((run / "summary.json").read_text())
    assert {"free_energy", "elbo", "seconds", "versions", "test_log_evidence"} <= summary.keys()
    settings = json.loads((run / "settings.json").read_text())["settings"]
    assert settings["recipe"] == "gaussian_mixture"
    assert settings["size"] == 60
    assert settings["components"] == 4
    torch.load(run / "weights.pt", weights_only=True)


def test_energy_prints_exact_free_energies(call, run):
    printed = call("energy", run, "--count", "3")
    assert "F_1 exact" in printed
    assert "total" in printed
    view = open_run(run).recipe.view(3)
    assert f"{view.free_energy().value.item():.2f}" in printed
    assert f"{view.zero_temperature().energy.item():.2f}" in printed
    assert "beta" not in printed  # a ladder is printed where it is asked for


def test_energy_draws_pictures(call, run):
    printed = call("energy", run, "--count", "3")
    drawn = {path.stem: path.read_bytes()[:4] for path in (run / "pictures").iterdir()}
    assert drawn == dict.fromkeys(["free_energy", "gaps", "heat_capacity"], b"\x89PNG")
    assert all(f"{name}.png" in printed for name in drawn)


def test_energy_prints_a_ladder_and_draws_nothing_if_told_so(call, run):
    """Oracle: the ladder of the run's own view."""
    printed = call("energy", run, "--count", "3", "--betas", "0.5,4", "--no-pictures")
    ladder = open_run(run).recipe.view(3).ladder([0.5, 4.0])
    for beta in (0.5, 4.0):
        (row,) = (words for words in map(cells, printed.splitlines()) if words[:1] == [f"{beta:g}"])
        names = ("free_energy", "mean_energy", "entropy", "heat_capacity")
        assert row[1:] == [f"{ladder[name].sel(beta=beta).item():.2f}" for name in names]
    assert not (run / "pictures").exists()


def test_energy_across_a_latent_of_one_dimension_is_a_picture(call, tmp_path):
    call("fit", "factor_analysis", *SMALL, "--set", "factors=1", "--out", tmp_path / "run")
    printed = call("energy", tmp_path / "run", "--count", "2", "--draws", "100", "--betas", "1,2")
    assert (tmp_path / "run" / "pictures" / "energy_factors.png").exists()
    assert "approximation gap" in printed
    assert "quadrature (estimate)" in printed


def test_diagnose_writes_what_arviz_reads(call, run):
    printed = call("diagnose", run, "--count", "5", "--draws", "200")
    assert "guide" in printed
    data = az.from_netcdf(str(run / "posterior.nc"))
    assert data.posterior.component.shape == (1, 200, 5)
    assert json.loads(data.posterior.attrs["settings"])["size"] == 60
    assert data.posterior.attrs["seed"] == 0


def test_report_writes_one_page(call, run):
    printed = call("report", run, "--count", "4", "--draws", "200")
    assert "report.html" in printed
    assert "<!doctype html>" in (run / "report.html").read_text().lower()


def test_a_run_whose_code_has_changed_is_opened_with_a_word(call, run):
    code = run / "code.json"
    kept = code.read_text()
    code.write_text(kept.replace(json.loads(kept)["pyrometer.models.gaussian_mixture"], "other"))
    try:
        told = call("diagnose", run, "--count", "4", "--draws", "200")
    finally:
        code.write_text(kept)
    assert "the code of pyrometer.models.gaussian_mixture has changed since this run" in told


def test_sample_draws_from_the_model(call, run):
    call("sample", run, "--count", "7")
    assert xr.load_dataset(run / "samples.nc").features.shape == (7, 2)


def test_the_same_seed_prints_the_same(call, run):
    assert call("energy", run, "--seed", "3") == call("energy", run, "--seed", "3")


def test_a_finished_run_is_not_overwritten_and_resumes_at_once(call, run):
    before = (run / "weights.pt").read_bytes()
    assert "already holds a run" in call("fit", "gaussian_mixture", *SMALL, "--out", run, code=2)
    call("fit", "gaussian_mixture", *SMALL, "--out", run, "--resume")
    assert (run / "weights.pt").read_bytes() == before


def test_another_recipe_cannot_resume_a_run(call, run):
    before = sorted(path.name for path in run.iterdir())
    printed = call("fit", "factor_analysis", *SMALL, "--out", run, "--resume", code=2)
    assert "recipe: 'gaussian_mixture' -> 'factor_analysis'" in printed
    assert sorted(path.name for path in run.iterdir()) == before


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["fit", "vea"], "unknown recipe 'vea'; there are autoencoder, bayesian_mixture"),
        (["fit", "ssvae", "--labels", "7"], "labels must be a positive multiple of 10"),
        (["fit", "ssvae", "--data", "letters"], "'data' must be digits or mnist, got 'letters'"),
        (["fit", "gaussian_mixture", "--labels", "10"], "no setting 'labels'"),
        (["fit", "gaussian_mixture", "--set", "size"], "--set takes NAME=VALUE, got 'size'"),
        (["fit", "gaussian_mixture", "--resume"], "--resume needs --out"),
        (["energy", "nowhere"], "'nowhere' is no run"),
        (["energy", "nowhere", "--betas", "1,x"], "--betas takes positive numbers"),
        (["energy", "nowhere", "--betas", "1,-2"], "got '1,-2'"),
    ],
)
def test_mistakes_are_one_message_and_nothing_is_written(call, words, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert message in call(*words, code=2)
    assert list(tmp_path.iterdir()) == []


def test_a_truncated_weights_file_is_named(call, run):
    whole = (run / "weights.pt").read_bytes()
    (run / "weights.pt").write_bytes(whole[: len(whole) // 2])
    assert "weights.pt is truncated or damaged" in call("energy", run, code=2)


def test_a_file_of_ones_own_runs(call, tmp_path):
    own = tmp_path / "mine.py"
    own.write_text("from pyrometer.recipes.factor_analysis import recipe\n")
    call("fit", own, *SMALL, "--out", tmp_path / "run")
    assert "total" in call("energy", tmp_path / "run", "--count", "2", "--draws", "100")
