"""The steps of all recipes as shapes of program and objective: small networks and few data, all else as it is."""

from collections.abc import Callable
from typing import Any

from pyrometer.recipes.recipe import find

from .exactness_case import Case

__all__ = ["RECIPES"]


def _of(name: str, **settings: Any) -> Callable[[], Case]:
    def build() -> Case:
        made = find(name)(**settings)
        optional = {
            "objective": made.objective,
            "augment": made.augment,
            "optimizer": made.optimizer,
            "schedule": made.schedule,
        }
        options = {key: value for key, value in optional.items() if value is not None}
        return Case(made.model, made.guide, made.data, {"batch_size": made.batch_size, **options})

    return build


RECIPES: dict[str, Callable[[], Case]] = {
    "recipe autoencoder": _of("autoencoder", hidden=20),
    "recipe bayesian_mixture": _of("bayesian_mixture", size=60),
    "recipe ellipse": _of("ellipse"),
    "recipe ellipse, marginalised": _of("ellipse", latent="marginalised", points=64),
    "recipe factor_analysis": _of("factor_analysis", size=600),
    "recipe gaussian_mixture": _of("gaussian_mixture", size=600),
    "recipe hfvae": _of("hfvae", hidden=20),
    "recipe horn": _of("horn", size=150),
    "recipe horn, a curve": _of("horn", decoder="curve", size=150),
    "recipe iwae": _of("iwae", hidden=20, draws=3),
    "recipe jointvae": _of("jointvae", hidden=20),
    "recipe kmeans": _of("kmeans", data="blobs", annealed=False, size=80),
    "recipe pen": _of("pen", size=150),
    "recipe pen, minimised": _of("pen", latent="minimised", points=64, size=150),
    "recipe ssvae": _of("ssvae", hidden=20),
    "recipe ssvae, consistency": _of("ssvae", hidden=20, consistency=1.0),
    "recipe ssvae_auxiliary": _of("ssvae_auxiliary", hidden=20),
    "recipe vae": _of("vae", hidden=20),
    "recipe vae, pixels drawn anew": _of("vae", hidden=20, redraw=True),
    "recipe vae_flow": _of("vae_flow", hidden=20),
}
"""By "recipe NAME", and what is set otherwise. The last batch of an epoch is short in some, as it is for users."""
