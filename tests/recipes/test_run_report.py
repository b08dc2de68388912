"""The page of two runs, what it compares, and what it says of code that has changed."""

import json
import re

import numpy as np
import pytest
from matplotlib.figure import Figure

from pyrometer.recipes.code_version import changed_code, code_of
from pyrometer.recipes.run import open_run, run
from pyrometer.recipes.run_comparison import pointwise_comparison
from pyrometer.recipes.run_report import Measures, write_report

SMALL = {"size": 120, "seed": 0}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    for components, name in ((4, "four"), (2, "two")):
        run("gaussian_mixture", {**SMALL, "components": components}, folder / name, epochs=8, progress=False)
    return folder


@pytest.fixture(scope="module")
def bayesian(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bayesian")
    for components in (2, 3):
        settings = {"size": 30, "components": components}
        run("bayesian_mixture", settings, folder / str(components), epochs=300, progress=False)
    return folder


def words(page):
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", page.read_text()))


def test_one_run_has_its_verdict_settings_learning_and_energies_on_one_page(runs):
    told = []
    page = write_report([runs / "four"], runs / "four" / "report.html", how=Measures(6, 200), told=told.append)
    text = words(page)
    for title in ("What was run", "Learning", "Energies over temperature", "Worst explained data", "Simulated data"):
        assert title in text
    assert text.index("Verdict") < text.index("What was run")
    assert "gaussian_mixture" in text
    assert page.stat().st_size < 1e6
    assert told[0] == "four: opening"


def test_runs_at_the_same_data_are_compared_by_their_free_energies(runs):
    page = write_report([runs / "four", runs / "two"], runs / "both.html", how=Measures(6, 200), told=str)
    text = words(page)
    assert "The runs compared" in text
    assert "Each held-out datum counts with log p(x) = -F_1" in text
    recipe = {name: open_run(runs / name).recipe for name in ("four", "two")}
    elpd = {n: r.model.log_evidence(r.held_out["features"][:6]).detach().double() for n, r in recipe.items()}
    best = max(elpd, key=lambda name: elpd[name].sum().item())
    other = next(name for name in elpd if name != best)
    difference = (elpd[other] - elpd[best]).sum().item()
    row = text[text.index("Predictive density, best first") :].split(best, 1)[1]
    shown = [
        float(number.replace("\N{MINUS SIGN}", "-")) for number in re.findall(r"[\N{MINUS SIGN}]?\d+\.\d+", row)[:8]
    ]
    assert any(abs(number - difference) < 0.01 for number in shown)


def test_runs_at_other_data_are_not_compared(runs):
    run("gaussian_mixture", {**SMALL, "seed": 1}, runs / "other", epochs=2, progress=False)
    page = write_report([runs / "four", runs / "other"], runs / "mixed.html", how=Measures(4, 200), told=str)
    assert "their held-out data differ" in words(page)


def test_programs_with_shared_latents_are_compared_by_leaving_data_out(bayesian):
    page = write_report(
        [bayesian / "2", bayesian / "3"], bayesian / "both.html", how=Measures(draws=500, temperatures=False), told=str
    )
    assert "PSIS-LOO" in words(page)


def test_differences_are_paired_by_datum():
    """Both runs find the second datum 100 nats worse, which their difference does not hear of."""
    rows = pointwise_comparison({"a": np.array([-1.0, -101.0, -2.0]), "b": np.array([-1.5, -101.1, -2.9])})
    assert [row[0] for row in rows] == ["a", "b"]
    assert rows[1][3] == pytest.approx(-1.5)
    assert rows[1][4] == pytest.approx(np.sqrt(3) * np.std([0.5, 0.1, 0.9], ddof=1))


def test_changed_code_is_named(runs):
    assert open_run(runs / "four").changed == []
    file = runs / "four" / "code.json"
    code = json.loads(file.read_text())
    assert "pyrometer.models.gaussian_mixture" in code
    file.write_text(json.dumps(code | {"pyrometer.models.gaussian_mixture": "other"}))
    try:
        assert open_run(runs / "four").changed == ["pyrometer.models.gaussian_mixture"]
        page = write_report([runs / "four"], runs / "four" / "report.html", how=Measures(4, 200), told=str)
        assert "The code of pyrometer.models.gaussian_mixture has changed since this run" in words(page)
    finally:
        file.write_text(json.dumps(code))


def test_checksums_are_of_the_files_that_define_the_parts():
    one = code_of(write_report, run, Figure)
    assert set(one) == {"pyrometer.recipes.run_report", "pyrometer.recipes.run", "matplotlib.figure"}
    assert code_of(len, 3) == {}
    assert changed_code(one, one) == []
    assert changed_code(one, {}) == list(one)
