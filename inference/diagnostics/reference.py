"""Reference draws of a posterior: of NUTS, where that is affordable, or of the user's own."""

import time
from collections.abc import Callable, Mapping
from typing import Any, Literal

import pyro
import torch
import xarray as xr
from pyro.infer import MCMC, NUTS, config_enumerate
from pyro.infer.mcmc.util import initialize_model
from torch import Tensor

from ..energy.structure import Structure
from ..energy.view import BoundView
from ..svi.random_state import preserved_random_state
from .dimensions import value_dims, with_coordinates

__all__ = ["Reference", "nuts_draws", "reference_draws"]

Reference = Literal["nuts"] | MCMC | Mapping[str, Tensor]
"""What a guide can be compared with: NUTS to be run, a result of MCMC, or draws by site, (C, S, *own), C chains."""
LONGEST = 600.0
"""Seconds that a run of NUTS may be expected to take."""
FEWEST_DRAWS = 4
"""Of a chain, for an effective sample size to be known."""
GRADIENTS_A_DRAW = 15
"""What a draw of NUTS costs in many posteriors: a tree of depth 4."""


def reference_draws(view: BoundView, reference: Reference) -> xr.Dataset:
    """Draws of the posterior over (chain, draw, ...), as a group of ArviZ's container.

    Args:
        view: a bound view.
        reference: ``"nuts"``, which is run; the result of an MCMC run; or draws by site, (C, S, *own).

    Raises:
        ValueError: if a site is neither a latent of the program's nor computed by it, has another shape, fewer than 4
            draws a chain, or a value that is not finite; if none is continuous; or as ``nuts_draws``.
    """
    if isinstance(reference, MCMC):
        found, attributes = reference.get_samples(group_by_chain=True), {"reference": "MCMC"}
    elif isinstance(reference, Mapping):
        found, attributes = reference, {"reference": "the reference draws"}
    elif reference == "nuts":
        found, divergences = nuts_draws(view)
        attributes = {"reference": "NUTS", "divergences": divergences}
    else:
        raise ValueError(f"reference must be 'nuts', the result of MCMC, or draws by site; got {reference!r}.")
    structure = view.structure
    rows = {}
    for name, value in found.items():
        _check(name, torch.as_tensor(value), structure)
        rows[name] = (["chain", "draw", *value_dims(structure.sites[name])], torch.as_tensor(value).detach().numpy())
    if not any(value.is_floating_point() for value in map(torch.as_tensor, found.values())):
        continuous = [name for name in structure.latents if not structure.is_discrete(name)]
        raise ValueError(
            f"reference has draws of {list(found)}, none of which is continuous; those that can be compared are "
            f"{continuous}."
        )
    return with_coordinates(xr.Dataset(rows), view.structure).assign_attrs(attributes)


def _check(name: str, value: Tensor, structure: Structure) -> None:
    known = [*structure.latents, *(site.name for site in structure.computed)]  # such as what reparam leaves of a site
    if name not in known:
        raise ValueError(f"reference has draws of {name!r}; the program's latents and what it computes are {known}.")
    own = tuple(structure.sites[name].shape)
    if value.dim() < 2 or value.shape[2:] != own or value.shape[1] < FEWEST_DRAWS:
        raise ValueError(
            f"reference has draws of {name!r} of shape {tuple(value.shape)}; expected chains, at least {FEWEST_DRAWS} "
            f"draws, and the site's own, {own}."
        )
    if not value.isfinite().all():
        raise ValueError(
            f"reference has draws of {name!r} that are nan or infinite, {int((~value.isfinite()).sum())} of "
            f"{value.numel()} numbers; leave such draws out."
        )


def nuts_draws(
    view: BoundView, draws: int = 1000, warmup: int = 500, chains: int = 2, seed: int = 0
) -> tuple[dict[str, Tensor], int]:
    """Draws of the continuous latents by Pyro's NUTS, (C, S, *own), and how many trajectories diverged.

    Discrete latents are summed out; the caller's random state is kept.

    Raises:
        ValueError: if the time of some gradients says that it would take more than ten minutes, no latent is
            continuous, or the data are subsampled.
    """
    structure, (args, kwargs) = view.structure, view.program.call
    if all(structure.is_discrete(name) for name in structure.latents):
        raise ValueError(f"NUTS moves continuous latents, and {structure.latents} are discrete; leave it out.")
    if structure.subsampling != 1:
        raise ValueError(
            f"the plate {structure.data_plate!r} is subsampled: NUTS would see other data at every step; bind the "
            f"program without subsampling."
        )
    model = config_enumerate(view.program.callable)
    with preserved_random_state(), torch.enable_grad():
        pyro.set_rng_seed(seed)
        expected = _seconds_a_gradient(model, structure.depth, args, kwargs)
        expected *= GRADIENTS_A_DRAW * (draws + warmup) * chains
        if expected > LONGEST:
            raise ValueError(
                f"NUTS would take some {expected / 60:.0f} minutes ({chains} chains of {draws} + {warmup} draws), more "
                f"than {LONGEST / 60:.0f}; bind the view to fewer data, or pass the result of an MCMC run of yours as "
                f"`reference`."
            )
        samples, divergences = [], 0
        for _ in range(chains):  # one after another: processes of their own would need a program that can be pickled
            kernel = NUTS(model, max_plate_nesting=structure.depth)
            mcmc = MCMC(kernel, num_samples=draws, warmup_steps=warmup, disable_progbar=True)
            mcmc.run(*args, **kwargs)
            samples.append(mcmc.get_samples())
            divergences += sum(map(len, mcmc.diagnostics()["divergences"].values()))
    return {name: torch.stack([one[name] for one in samples]).detach() for name in samples[0]}, divergences


def _seconds_a_gradient(model: Callable, depth: int, args: tuple, kwargs: dict[str, Any], repeats: int = 5) -> float:
    start, potential, _, _ = initialize_model(model, args, kwargs, max_plate_nesting=depth)
    point = {name: value.detach().requires_grad_() for name, value in start.items()}
    torch.autograd.grad(potential(point), list(point.values()))  # whatever is done once
    began = time.perf_counter()
    for _ in range(repeats):
        torch.autograd.grad(potential(point), list(point.values()))
    return (time.perf_counter() - began) / repeats
