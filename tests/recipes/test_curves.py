"""The recipes of latent angles, trained for a moment in each of their ways."""

import pytest
import torch

from pyrometer.recipes.curve_pictures import drawn
from pyrometer.recipes.recipe import find
from pyrometer.recipes.run import open_run, run

SMALL = {
    "ellipse": {"size": 6, "points": 16, "scale": 0.6},
    "horn": {"size": 70, "points": 16, "scale": 0.6},
    "pen": {"size": 70, "points": 16, "scale": 0.6},
}


@pytest.mark.parametrize(("name", "latent"), [("horn", "marginalised"), ("pen", "minimised"), ("pen", "amortised")])
def test_a_run_trains_model_and_guide_and_draws(tmp_path, name, latent):
    settings = SMALL[name] | {"latent": latent}
    untrained = find(name)(**settings)
    recipe, _, reached = run(name, settings, tmp_path / "run", epochs=1, progress=False, compile=False)
    assert {"free_energy", "elbo", "held_out"} <= reached.keys()
    assert {path.stem for path in (tmp_path / "run/pictures").iterdir()} == set(recipe.pictures)
    again = open_run(tmp_path / "run").recipe
    for program in ("model", "guide"):
        state = getattr(recipe, program).state_dict()
        torch.testing.assert_close(getattr(again, program).state_dict(), state, rtol=0, atol=0)
        assert state.keys() == getattr(untrained, program).state_dict().keys()


def test_the_ellipse_s_radii_are_scored_and_drawn():
    recipe = find("ellipse")(**SMALL["ellipse"])
    with torch.no_grad():
        recipe.model.radii.copy_(torch.tensor([-1.2, 0.7]))  # its sign means nothing
    assert list(recipe.score(recipe.model, recipe.guide).values()) == pytest.approx([1.2, 0.7])
    assert set(recipe.pictures) == {"curve", "free_energies"}
    curve = recipe.pictures["curve"](recipe).axes[0].lines[1].get_xydata()
    assert curve.max(0) == pytest.approx([1.2, 0.7], rel=1e-4)


def test_held_out_points_are_no_training_points():
    for name in SMALL:
        recipe = find(name)(**SMALL[name])
        seen = {tuple(point) for point in recipe.data["point"].tolist()}
        assert not seen & {tuple(point) for point in recipe.held_out["point"].tolist()}


def test_draws_of_pictures_are_the_program_s():
    """Oracle: on the horn's own decoder at each x, off the curve by the scale."""
    model = find("horn")(**SMALL["horn"]).model
    x = torch.full((4000,), 0.3)
    radii = model.decoder.radii(x)
    squares = (drawn(model, x) / radii).square().sum(-1)
    expected = 1 + 0.6**2 * (1 / radii.square()).sum(-1)
    assert abs(squares.mean() - expected.mean()) < 4.3 * squares.std() / len(x) ** 0.5


def test_an_unknown_decoder_is_refused():
    with pytest.raises(ValueError, match="'decoder' must be one of radii, curve, got 'square'"):
        find("horn")(decoder="square")
