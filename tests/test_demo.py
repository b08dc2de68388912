"""The demo, on a run of one epoch: what it prints is what was measured, and it can be called again."""

import json
from io import StringIO

import arviz as az
import pytest
import torch
from rich.console import Console

from pyrometer import demo
from pyrometer.data import digits, train_test_split
from pyrometer.inference.diagnostics import diagnose
from pyrometer.recipes.run import open_run

TINY = {"labels": 20, "style": 2, "hidden": 8, "seed": 3}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run's folder, and what the demo printed of it."""
    out = tmp_path_factory.mktemp("demo") / "run"
    return out, printed(out)


def printed(out):
    console = Console(file=StringIO(), width=160)
    demo.demonstrate(out, console, TINY, epochs=1, draws=100)
    return console.file.getvalue()


def cells(table):
    return [[str(cell) for cell in column.cells] for column in table.columns]


def test_the_demo_prints_its_tables_and_leaves_its_files(finished):
    out, said = finished
    for word in ("logistic regression", "label spreading", "Pareto k", "hdi", "fit ssvae --data mnist --labels 100"):
        assert word in said
    accuracy = json.loads((out / "summary.json").read_text())["test_accuracy"]
    assert f"{accuracy:.1%}" in said
    assert az.from_netcdf(str(out / "posterior.nc")).posterior["style"].shape == (1, 100, 50, 2)
    assert len(list((out / "pictures").glob("*.png"))) == 5


def test_the_demo_of_a_finished_run_prints_the_same_and_trains_no_more(finished):
    out, said = finished
    before = (out / "weights.pt").stat().st_mtime_ns
    assert printed(out) == said
    assert (out / "weights.pt").stat().st_mtime_ns == before


def test_the_table_of_energies_has_the_numbers_of_the_diagnosis(finished):
    out, _ = finished
    recipe = open_run(out).recipe
    test = train_test_split(digits(), seed=3).test
    view = recipe.view(6)
    judged = diagnose(view, recipe.guide, 100)
    true, inferred, energy, free_energy, bound, gap, k = cells(demo.energy_table(judged, recipe, test, count=4))
    digit = recipe.guide.digit_distribution(test.image[:4]).probs.argmax(-1)
    style = recipe.guide.style_distribution(test.image[:4], digit).mean
    assert true == [str(one) for one in test.digit[:4].tolist()]
    assert inferred == [str(one) for one in digit.tolist()]
    expected = recipe.view(4).energy_per_datum({"digit": digit, "style": style})
    assert energy == [f"{one:.2f}" for one in expected.tolist()]
    rows = judged.tables["gaps"].isel(data=slice(4))
    for column, name, places in ((free_energy, "free_energy", 2), (bound, "negative_elbo", 2), (gap, "gap", 3)):
        values = zip(rows[f"{name}_per_datum"].values, rows[f"{name}_error_per_datum"].values, strict=True)
        assert column == [f"{value:.{places}f} ± {error:.{places}f}" for value, error in values]
    assert k == [f"{one:.2f}" for one in rows.pareto_k.values]


def test_the_table_of_accuracies_has_binomial_errors():
    """Oracle: sqrt(0.8 * 0.2 / 400) = 2 %."""
    names, _, accuracies = cells(
        demo.accuracy_table(0.8, {"logistic regression": 0.5, "label spreading": 0.9}, size=400)
    )
    assert names[0].startswith("ours")
    assert accuracies == ["80.0% ± 2.0%", "50.0% ± 2.5%", "90.0% ± 1.5%"]


def test_a_folder_of_something_else_is_refused_in_one_message(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(torch, "set_num_threads", lambda _: None)
    (tmp_path / "thesis.tex").write_text("precious")
    assert demo.main(["--out", str(tmp_path)]) == 2
    assert "is not empty and holds no run" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_an_interrupted_demo_says_how_to_go_on(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(torch, "set_num_threads", lambda _: None)

    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(demo, "run", interrupted)
    assert demo.main(["--out", str(tmp_path / "run")]) == 130
    assert "the same command goes on" in capsys.readouterr().err
