"""Draws of every latent from a guide, a part at a time."""

import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

from torch import Tensor

from ..energy.importance import bound_log_weights, importance_log_weights
from ..energy.problem import Problem
from ..energy.structure import Structure
from ..energy.view import BoundView
from .discrete_draws import draw_discrete

__all__ = ["PosteriorPart", "from_guide", "part_sizes"]

ELEMENTS = 5_000_000
"""Of a part's draws of all sites together: some hundred megabytes, where the data alone are not larger."""


class PosteriorPart(NamedTuple):
    """S draws of every latent, (S, *own), and log p(x, z) - log q(z): (S, N) ``by_datum``, (S, 1) of the total.

    MCMC has no weights. Where discrete latents were summed out for the weights, these are of the others alone.
    """

    latents: dict[str, Tensor]
    log_weights: Tensor | None
    by_datum: bool


def part_sizes(structure: Structure, draws: int) -> list[int]:
    """How many draws are held at once, in parts that differ by one at most.

    With 2 draws or more no part has just one, which could not tell a point mass from a draw: were 2 the most, 3 draws
    could not be shared out, and so 3 are always allowed.
    """
    own = sum(site.shape.numel() for site in structure.sites.values())
    parts = math.ceil(draws / max(3, ELEMENTS // max(1, own)))
    return [(draws + part) // parts for part in range(parts)]


def from_guide(view: BoundView, guide: Callable, draws: int, sum_discrete: bool) -> Iterator[PosteriorPart]:
    """Independent draws of a guide; discrete latents that it leaves out come from their exact conditional.

    Args:
        view: a bound view.
        guide: q(z | x).
        draws: how many, at least 2.
        sum_discrete: discrete latents beside continuous ones are summed out of the weights even where the guide draws
            them, and then come from their exact conditional too.
    """
    problem = Problem(view.program, 1.0, "lebesgue", {})
    for count in part_sizes(view.structure, draws):
        if sum_discrete:
            weights, _ = importance_log_weights(problem, guide, count)
        else:
            weights = bound_log_weights(problem, guide, count)
        latents = {**weights.latents, **draw_discrete(view.program, weights.latents, count)}
        yield PosteriorPart(latents, weights.log_weights, weights.by_datum)
