r"""Are the guide's probabilities of a discrete latent frequencies?  ECE = sum_b n_b / N |accuracy_b - confidence_b|."""

from collections.abc import Callable, Mapping

import torch
import xarray as xr
from torch import Tensor

from ..energy.scoring import run
from ..energy.structure import probe, sample_sites
from ..energy.view import BoundView
from .reliability import reliability

__all__ = ["label_calibration"]


@torch.no_grad()
def label_calibration(view: BoundView, guide: Callable, labels: Mapping[str, Tensor], draws: int = 20) -> xr.Dataset:
    r"""Accuracy and expected calibration error of q(label | x), against labels that are known.

    .. math:: \text{ECE} = \sum_b \frac{n_b}{N} \left| \text{acc}_b - \text{conf}_b \right|

    over ten bins of as many data each, in order of the confidence, the guide's largest probability.

    Args:
        view: a bound view.
        guide: q, whose sites of these names are Categorical or Bernoulli, by datum.
        labels: the true values of discrete latents, (N,), at the view's data.
        draws: of what the labels depend on in the guide, if anything.

    Returns:
        A Dataset over ``site``: ``accuracy``, ``confidence``, ``ece``, ``ece_if_calibrated``: what the ECE of so
        many data would be, on average, if the probabilities were right; and, over ``site`` and ``bin``,
        ``bin_accuracy``, ``bin_confidence`` and ``bin_count``.

    Raises:
        ValueError: if the guide has no such discrete site, or there is not a label for each datum.

    Reference: C. Guo, G. Pleiss, Y. Sun, K. Weinberger (2017), On calibration of modern neural networks, ICML.
    https://arxiv.org/abs/1706.04599
    """
    structure = probe(guide, view.plate, *view.program.call)
    rows = []
    for name, truth in labels.items():
        site = structure.sites.get(name)
        if site is None or not site.discrete:
            discrete = [site.name for site in structure.sites.values() if site.discrete]
            raise ValueError(f"labels names {name!r}; the guide's discrete sites are {discrete}.")
        if truth.shape != site.shape:
            raise ValueError(
                f"labels[{name!r}] has shape {tuple(truth.shape)}; expected one for each datum, {tuple(site.shape)}."
            )
        traces = (run(guide, structure, view.program.call, {}) for _ in range(draws))
        probabilities = torch.stack([_probabilities(sample_sites(trace)[name]["fn"]) for trace in traces]).mean(0)
        rows.append(reliability(probabilities, truth))
    return xr.concat(rows, dim="site").assign_coords(site=list(labels))


def _probabilities(fn: torch.distributions.Distribution) -> Tensor:
    """(N, K)."""
    return fn.log_prob(fn.enumerate_support()).exp().movedim(0, -1)
