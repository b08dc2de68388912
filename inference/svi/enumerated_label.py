"""A pair run with one discrete latent enumerated: energies and log-probabilities for every label and datum."""

from collections.abc import Callable, Mapping
from typing import Any

import pyro.poutine as poutine
import torch
from torch import Tensor

from ..energy.structure import sample_sites

__all__ = [
    "LogProbs",
    "enumerate_label",
    "enumerated",
    "label_log_prob",
    "label_log_probs",
    "log_probs_by_label",
    "total",
]

LogProbs = dict[str, Tensor]
"""log-probabilities by site."""


def enumerated(guide: Callable, chosen: Callable[[Mapping[str, Any]], bool]) -> Callable:
    """The guide with the sites that are chosen marked to be enumerated in parallel."""

    def configure(site: Any) -> Any:
        return {"enumerate": "parallel"} if chosen(site) else {}

    return poutine.infer_config(guide, config_fn=configure)


def enumerate_label(model: Callable, guide: Callable, label: str, batch: Mapping[str, Any]) -> tuple[Tensor, Tensor]:
    """F(x, y) for every label and datum, (K, N), with one draw of the rest; and log q(y|x), (K, N)."""
    log_q, of_guide, of_model = log_probs_by_label(model, guide, label, batch)
    return total(of_guide) - total(of_model), log_q


def log_probs_by_label(
    model: Callable, guide: Callable, label: str, batch: Mapping[str, Any]
) -> tuple[Tensor, LogProbs, LogProbs]:
    """One draw of all other latents from the guide for each label, and what guide and model make of it.

    Returns:
        log q(y|x), (K, N); and by site, each (K, N) or broadcast to it, log q of the guide's other sites and log p of
        all sites of the model.

    Raises:
        ValueError: if the label is no site of the guide.
    """
    with poutine.enum(first_available_dim=-2):
        q = poutine.trace(_by_label(guide, label)).get_trace(**batch)
        p = poutine.trace(poutine.replay(model, trace=q)).get_trace(**batch)
    log_q, log_p = _log_probs(q), _log_probs(p)
    if label not in log_q:
        raise ValueError(f"label must be a site of the guide, got {label!r}, but its sites are {sorted(log_q)}.")
    shape = torch.broadcast_shapes(*(value.shape for value in (*log_q.values(), *log_p.values())))
    return log_q.pop(label).expand(shape), log_q, log_p


def label_log_probs(guide: Callable, label: str, batch: Mapping[str, Any]) -> Tensor:
    """log q(y|x) of every label, (K, N)."""
    with poutine.enum(first_available_dim=-2):
        trace = poutine.trace(poutine.block(_by_label(guide, label), expose=[label])).get_trace(**batch)
    return _log_probs(trace)[label]


def label_log_prob(guide: Callable, label: str, batch: Mapping[str, Any]) -> Tensor:
    """log q(y|x) of the given labels, (N,): the guide is run without them, and its site is conditioned on them."""
    rest = {name: value for name, value in batch.items() if name != label}
    conditioned = poutine.condition(guide, data={label: batch[label]})
    trace = poutine.trace(poutine.block(conditioned, expose=[label])).get_trace(**rest)
    return _log_probs(trace)[label]


def total(log_probs: LogProbs) -> Tensor:
    """The sum over sites, 0 if there are none."""
    return sum(log_probs.values(), torch.zeros(()))


def _by_label(guide: Callable, label: str) -> Callable:
    return enumerated(guide, lambda site: site["name"] == label)


def _log_probs(trace: poutine.Trace) -> LogProbs:
    trace.compute_log_prob()
    return {name: site["log_prob"] for name, site in sample_sites(trace).items()}
