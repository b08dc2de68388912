"""The command line, run in the process on small settings."""

import json

import arviz as az
import pytest
import torch
import xarray as xr
from typer.testing import CliRunner

from pyrometer.cli import app

SMALL = ["--set", "size=60", "--epochs", "2", "--quiet"]


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


def test_diagnose_writes_what_arviz_reads(call, run):
    printed = call("diagnose", run, "--count", "5", "--draws", "200")
    assert "guide" in printed
    assert az.from_netcdf(str(run / "posterior.nc")).posterior.component.shape == (1, 200, 5)


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
        (["fit", "vea"], "unknown recipe 'vea'; there are factor_analysis, gaussian_mixture, ssvae"),
        (["fit", "ssvae", "--labels", "7"], "labels must be a positive multiple of 10"),
        (["fit", "ssvae", "--data", "letters"], "'data' must be digits or mnist, got 'letters'"),
        (["fit", "gaussian_mixture", "--labels", "10"], "no setting 'labels'"),
        (["fit", "gaussian_mixture", "--set", "size"], "--set takes NAME=VALUE, got 'size'"),
        (["fit", "gaussian_mixture", "--resume"], "--resume needs --out"),
        (["energy", "nowhere"], "'nowhere' is no run"),
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
