"""Recipes are found by name or file, and their settings are read as the types of their defaults."""

import pytest

from pyrometer.recipes import recipe as recipe_module
from pyrometer.recipes.recipe import find, names, typed_settings

OWN = '''
from pyrometer import Recipe
from pyrometer.recipes.factor_analysis import recipe as original


def recipe(*, size: int = 50, seed: int = 0) -> Recipe:
    """My own."""
    return original(size=size, epochs=2, seed=seed)
'''


def test_the_recipes_are_there():
    assert names() == [
        "autoencoder",
        "bayesian_mixture",
        "ellipse",
        "factor_analysis",
        "gaussian_mixture",
        "hfvae",
        "horn",
        "iwae",
        "jointvae",
        "kmeans",
        "pen",
        "ssvae",
        "ssvae_auxiliary",
        "vae",
        "vae_flow",
    ]


def test_an_unknown_recipe_lists_those_there_are():
    with pytest.raises(ValueError, match=f"'vea'; there are {', '.join(names())}, or pass a FILE.py"):
        find("vea")


def test_settings_are_read_as_the_types_of_their_defaults():
    settings = typed_settings("gaussian_mixture", {"components": "3", "learning_rate": "0.5"})
    assert settings["components"] == 3
    assert settings["learning_rate"] == 0.5
    assert settings["size"] == 1000  # a default


def test_unknown_and_unreadable_settings_are_refused():
    with pytest.raises(ValueError, match="no setting 'colour'; it has components, clusters, size"):
        typed_settings("gaussian_mixture", {"colour": "red"})
    with pytest.raises(ValueError, match="'components' must be of type int, got 'many'"):
        typed_settings("gaussian_mixture", {"components": "many"})


def test_a_file_of_ones_own_works_like_ours(tmp_path):
    (tmp_path / "mine.py").write_text(OWN)
    made = find(str(tmp_path / "mine.py"))(size=30)
    assert made.epochs == 2
    assert len(made.data["features"]) == 30


def test_a_file_without_a_recipe_is_refused(tmp_path):
    (tmp_path / "empty.py").write_text("x = 3\n")
    with pytest.raises(ValueError, match="must define a function recipe"):
        find(str(tmp_path / "empty.py"))
    with pytest.raises(ValueError, match="there is no recipe file"):
        find(str(tmp_path / "absent.py"))


def test_a_recipe_trains_for_its_epochs_for_others_or_for_steps(monkeypatch):
    asked = []
    monkeypatch.setattr(recipe_module, "fit", lambda *_, **how: asked.append((how["epochs"], how.get("steps"))))
    made = find("factor_analysis")(epochs=7)
    made.fit()
    made.fit(3)
    made.fit(steps=20)
    assert asked == [(7, None), (3, None), (None, 20)]


def test_a_recipe_trains_as_it_says(monkeypatch):
    asked = {}
    monkeypatch.setattr(recipe_module, "fit", lambda *pair, **how: asked.update(how, pair=pair))
    made = find("vae")(redraw=True)
    made.fit(seed=3, on_epoch=None)
    told = {"objective", "batch_size", "augment", "optimizer", "schedule", "epochs"}
    assert {name: asked[name] for name in told} == {name: getattr(made, name) for name in told}
    assert made.augment is not None
    assert asked["pair"] == (made.model, made.guide, made.data)
    assert (asked["seed"], asked["on_epoch"]) == (3, None)
    made.fit()
    assert asked["on_epoch"] is made.validate


def test_no_epochs_are_refused_rather_than_taken_for_the_recipe_s_own():
    with pytest.raises(ValueError, match="epochs must be a positive integer, got 0"):
        find("factor_analysis")().fit(0, progress=False)
