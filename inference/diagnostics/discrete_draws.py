"""Discrete latents drawn from their exact conditional,  k ~ p(k | z, x),  at draws of all the others."""

from collections.abc import Callable, Mapping
from typing import Any

import pyro
import pyro.poutine as poutine
import torch
from pyro.infer import config_enumerate, infer_discrete
from torch import Tensor

from ..energy.scoring import DRAWS, scaled_sites
from ..energy.structure import sample_sites
from ..energy.substitute import LiftMasks, Substitute, hide_samples
from ..energy.vectorize import Program, beside_plates, from_plates

__all__ = ["draw_discrete"]


@torch.no_grad()
def draw_discrete(program: Program, latents: Mapping[str, Tensor], draws: int) -> dict[str, Tensor]:
    """The discrete latents that are not passed, (S, *own), by forward filtering and backward sampling.

    Args:
        program: the program, as called.
        latents: S draws of all other latents, (S, *own) each.
        draws: S.

    Raises:
        ValueError: if a site has a ``poutine.scale``, which Pyro's exact sampling leaves out, or data that share such
            a latent are subsampled.

    Reference: F. Obermeyer et al. (2019), Tensor variable elimination for plated factor graphs, section 4, ICML.
    https://arxiv.org/abs/1902.03210
    """
    structure = program.structure
    missing = [name for name in structure.latents if name not in latents]
    if not missing:
        return {}
    structure.refuse_subsampling([name for name in missing if name in structure.shared_latents])
    if program.broadcasts:
        nodes = _sampled(program, beside_plates(structure, latents), draws)
        return from_plates(structure, {name: nodes[name]["value"] for name in missing}, draws)
    rows = [_sampled(program, {name: value[i] for name, value in latents.items()}, 0) for i in range(draws)]
    return {name: torch.stack([row[name]["value"] for row in rows]) for name in missing}


def _sampled(program: Program, latents: Mapping[str, Tensor], draws: int) -> dict[str, Any]:
    """The sites of one run, along an outer plate of so many draws where there are any."""
    structure = program.structure

    def given(*args: Any, **kwargs: Any) -> None:
        with LiftMasks(), Substitute(latents, structure.subsamples):
            if not draws:
                return program.callable(*args, **kwargs)
            with pyro.plate(DRAWS, draws, dim=-structure.depth - 1):
                return program.callable(*args, **kwargs)

    enumerated: Callable[..., Any] = config_enumerate(given, default="parallel")
    first = -structure.depth - 1 - (draws > 0)
    sampler = infer_discrete(enumerated, first_available_dim=first, temperature=1)
    with hide_samples(), pyro.validation_enabled(False):
        nodes = sample_sites(poutine.trace(sampler).get_trace(*program.args, **program.kwargs))
    scaled = scaled_sites(nodes, structure)
    if scaled:
        raise ValueError(
            f"discrete latents cannot be drawn from their exact conditional: the sites {scaled} have a poutine.scale, "
            f"which is left out there; sample the discrete latents in the guide, or take the scale off."
        )
    return nodes
