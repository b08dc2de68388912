"""The calibration benchmark on labels drawn from known probabilities, and on a short run of a pair."""

from types import SimpleNamespace

import pyro
import pytest
import torch

from pyrometer.benchmarks import digit_calibration
from pyrometer.benchmarks.digit_calibration import calibrated, measure, report, validation_images
from pyrometer.data import digits, train_test_split
from pyrometer.guides import DigitAndStyle
from pyrometer.models import SemiSupervisedVAE
from pyrometer.recipes import Recipe


def drawn(size, sharpness):
    """Energies of four labels that are ``sharpness`` times too large, and labels."""
    energies = 1.5 * torch.randn(size, 4, dtype=torch.float64)
    return sharpness * energies, torch.distributions.Categorical(logits=-energies).sample()


def test_probabilities_that_are_too_sure_are_mended_and_answers_stay():
    """Oracle: the labels' own distribution, whose beta is one over what the energies were multiplied by."""
    (validation, known), (test, truth) = drawn(4000, 3.0), drawn(4000, 3.0)
    found = calibrated(validation, test, known, truth)
    assert found.beta == pytest.approx(1 / 3, abs=0.03)
    assert found.loss[1] < found.loss[0] - 0.1
    assert found.tables[0].ece > 0.1
    assert found.tables[1].ece < 3 * found.tables[1].ece_if_calibrated
    assert found.accuracy == (test.argmin(-1) == truth).double().mean().item()


def of_images(validation):
    test = train_test_split(digits(), seed=3).test
    with torch.random.fork_rng(devices=[]):
        pyro.set_rng_seed(3)
        model, guide = SemiSupervisedVAE((8, 8), style=2, hidden=6), DigitAndStyle((8, 8), style=2, hidden=6)
    held = {"held_out": {"image": test.image}, "labels": {"digit": test.digit}}
    return Recipe(model=model.eval(), guide=guide.eval(), data={}, epochs=1, validation=validation, **held)


def of_named_images():
    """Of an untrained pair no positive temperature may be best: digits are mostly what it says of them."""
    image = train_test_split(digits(), seed=3).train.image[:60]
    recipe = of_images(None)
    with torch.no_grad():
        said = recipe.guide.digit_distribution(image).logits.argmax(-1)
        noise = torch.randint(10, said.shape)
    return of_images({"image": image, "digit": torch.where(torch.rand(len(said)) < 0.7, said, noise)})


def test_both_readings_of_a_run_are_measured_and_reported():
    found = measure(of_named_images(), draws=3, images=40)
    assert list(found) == ["guide, q(digit given image)", "model, softmax(-F)"]
    text = report([found, found])
    assert text.startswith("2 runs; mean ± sd.")
    assert text.count("± 0.00") >= 4


def test_the_command_writes_its_table_and_its_picture(tmp_path, monkeypatch):
    recipe, page = of_named_images(), tmp_path / "results.md"
    monkeypatch.setattr(digit_calibration, "open_run", lambda _: SimpleNamespace(recipe=recipe))
    monkeypatch.setattr("sys.argv", ["digit_calibration", "a", "b", "--draws", "3", "--results", str(page)])
    digit_calibration.main()
    text = page.read_text()
    assert "| model, softmax(-F) |" in text
    assert "(digit_calibration.png)" in text
    assert (tmp_path / "digit_calibration.png").exists()


def test_a_run_without_validation_images_is_refused():
    with pytest.raises(ValueError, match="hold back validation images with labels.*has none"):
        validation_images(of_images(None))
