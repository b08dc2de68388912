"""What taking a divergence apart asks of a pair: latents that are independent where they have to be."""

from collections.abc import Callable, Mapping
from typing import Any

import pyro.distributions as dist
import pyro.poutine as poutine
import torch
from pyro.poutine.messenger import Messenger
from torch import Tensor

from ..energy.structure import sample_sites
from ..energy.substitute import innermost
from .aggregate_posterior import draw
from .pair_checks import latent_sites, module_of, preserved_buffers
from .random_state import preserved_random_state

__all__ = ["check_guide_draws", "check_independent_latents"]

Site = Mapping[str, Any]


def check_guide_draws(guide: Callable, batch: dict[str, Any]) -> poutine.Trace:
    """Raise where the density of the guide's draws given another datum cannot be had from one run of the guide.

    The random state and the guide's buffers are afterwards what they were before.

    Returns:
        The guide's trace, whose continuous draws are leaves that require a gradient.

    Raises:
        ValueError: naming the site, if the guide has none, or one is outside the data plate or in others as well, is
            subsampled or masked, has neither a reparameterised draw nor values to enumerate, or depends on the draw
            of a continuous one.
    """
    module, leaves = module_of(guide), _Leaves()
    kept = [] if module is None else [module]
    with preserved_random_state(), preserved_buffers(kept), torch.enable_grad(), poutine.block():
        plain = poutine.trace(guide).get_trace(**batch)
        nodes = sample_sites(plain)
        if not nodes:
            raise ValueError("the guide has no latent site, so that there is nothing to decompose.")
        for name, node in nodes.items():
            _check_plates("guide", name, node)
            _check_draw(name, node["fn"])
        with leaves:
            held = draw(guide, batch).trace
        for name, node in sample_sites(held).items():
            if on := _moves(node, {other: leaf for other, leaf in leaves.values.items() if other != name}):
                raise ValueError(
                    f"the guide's site {name!r} must not depend on the draws of continuous sites, but depends on {on}: "
                    f"its density given other data is then unknown. Draw {name!r} from the data and discrete sites "
                    f"alone, or make one site of them all."
                )
    return held


def check_independent_latents(model: Callable, guide: Callable, batch: dict[str, Any]) -> None:
    """Raise where a pair does not let its ELBO be taken apart by latents.

    Raises:
        ValueError: as :func:`check_guide_draws`; if the model has other latents than the guide, a site outside the
            data plate, or a latent whose prior depends on another latent.
    """
    q = check_guide_draws(guide, batch)
    module = module_of(model)
    kept = [] if module is None else [module]
    with preserved_random_state(), preserved_buffers(kept), torch.enable_grad(), poutine.block():
        with poutine.enum(first_available_dim=-2):
            p = poutine.trace(poutine.replay(model, trace=q)).get_trace(**batch)
        latents = latent_sites(p)
        if latents.keys() != sample_sites(q).keys():
            raise ValueError(
                f"model and guide must have the same latent sites, but the model has {sorted(latents)} and the guide "
                f"{sorted(sample_sites(q))}."
            )
        for name, node in sample_sites(p).items():
            _check_plates("model", name, node, latent=name in latents)
        leaves = {name: node["value"] for name, node in latents.items() if node["value"].requires_grad}
        for name, node in latents.items():
            others = {other: leaf for other, leaf in leaves.items() if other != name}
            on = _moves(node, others) or (["a discrete site"] if node["fn"].batch_shape[:-1].numel() > 1 else [])
            if on:
                raise ValueError(
                    f"the prior of the model's site {name!r} must not depend on other latents, but depends on {on}: "
                    f"the terms are divergences from independent priors."
                )


class _Leaves(Messenger):
    """Cuts continuous draws off from what they were drawn from, so that gradients tell what depends on them."""

    def __init__(self) -> None:
        super().__init__()
        self.values: dict[str, Tensor] = {}

    def _pyro_post_sample(self, msg: Any) -> None:
        if not msg["is_observed"] and msg["value"].is_floating_point() and not msg["fn"].has_enumerate_support:
            msg["value"] = self.values[msg["name"]] = msg["value"].detach().requires_grad_()


def _moves(node: Site, leaves: Mapping[str, Tensor]) -> list[str]:
    """The leaves on which the distribution of a site depends."""
    density = node["fn"].log_prob(node["value"].detach()).sum()
    if not leaves or not density.requires_grad:
        return []
    slopes = torch.autograd.grad(density, list(leaves.values()), allow_unused=True)
    return [name for name, slope in zip(leaves, slopes, strict=True) if slope is not None]


def _check_plates(role: str, name: str, node: Site, latent: bool = True) -> None:
    frames = [frame for frame in node["cond_indep_stack"] if frame.vectorized]
    if len(frames) != 1 or len(frames) != len(node["cond_indep_stack"]) or frames[0].dim != -1:
        within = [frame.name for frame in node["cond_indep_stack"]]
        raise ValueError(
            f"site {name!r} of the {role} must be in the data plate and in no other, but is in {within}: write other "
            f"dimensions by .to_event, and train a pair with latents that all data share by Trace_ELBO()."
        )
    if latent and (node["scale"] != 1 or node["mask"] is not None):
        raise ValueError(
            f"site {name!r} of the {role} must be neither scaled, by a subsampling plate or poutine.scale, nor masked: "
            f"write plates without subsampling, since the objective knows how many data there are."
        )


def _check_draw(name: str, fn: Any) -> None:
    if isinstance(fn, dist.Independent) and innermost(fn).has_enumerate_support:
        raise ValueError(
            f"the guide's discrete site {name!r} must not be a vector of them, which has too many values to enumerate: "
            f"write one site for each."
        )
    if not fn.has_enumerate_support and not fn.has_rsample:
        raise ValueError(
            f"the guide's site {name!r}, {type(fn).__name__}, must have a reparameterised draw or values to enumerate."
        )
