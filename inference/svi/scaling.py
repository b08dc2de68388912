"""How a batch counts: for itself, or, in a subsampled plate, for all data."""

from typing import Any

import torch
from pyro.poutine import Trace

from ..energy.structure import sample_sites
from .pair_checks import latent_sites

__all__ = ["check_global_latents", "full_size"]


def full_size(model_trace: Trace) -> int | None:
    """N, where observed sites are in a plate that subsamples N data and thus scales its terms to them; else None."""
    for site in _observed(model_trace):
        for frame in site["cond_indep_stack"]:
            if frame.full_size not in (None, frame.size):
                return frame.full_size
    return None


def check_global_latents(model_trace: Trace, rows: int, total: int) -> None:
    """Raise where a latent that all data share would count once in every batch of ``rows`` out of ``total`` data.

    With plain plates the sum of the losses of all batches holds -log p(z) of a shared z total / rows times. It is
    right where observed sites are scaled by total / rows relative to z, which a subsampled plate does.

    Raises:
        ValueError: naming the sites and the remedies.
    """
    observed = _observed(model_trace)
    plates = {frame.name for site in observed for frame in site["cond_indep_stack"] if frame.size == rows}
    scale = max((_scale(site) for site in observed), default=1.0)
    wrong = [
        name
        for name, site in latent_sites(model_trace).items()
        if not plates & {frame.name for frame in site["cond_indep_stack"]}
        and abs(scale / _scale(site) * rows / total - 1) > 1e-3
    ]
    if wrong:
        raise ValueError(
            f"model has the latent sites {wrong} outside every plate of the batch, so with {rows} of {total} rows a "
            f"step their prior would be counted {total / rows:.4g} times. Pass batch_size=None, or write the plate of "
            f"the data as pyro.plate(name, {total}, subsample_size=len(batch))."
        )


def _scale(site: dict[str, Any]) -> float:
    return torch.as_tensor(site["scale"], dtype=torch.float64).mean().item()


def _observed(model_trace: Trace) -> list[dict[str, Any]]:
    sites = sample_sites(model_trace).values()
    return [site for site in sites if site["is_observed"] and not site["infer"].get("_deterministic")]
