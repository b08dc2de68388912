r"""The ELBO as a sum of named terms:  what latents know of x, how they hang together, where each of them lies."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any
from weakref import WeakKeyDictionary, ref

import numpy as np
import pyro.poutine as poutine
import torch
from torch import Tensor

from ..energy.structure import sample_sites
from .aggregate_posterior import Densities, GuideDraws, by_element, draw
from .independent_latents import check_independent_latents

__all__ = ["Decomposed"]

KINDS = ("reconstruction", "information", "between", "within", "marginal")


@dataclass(frozen=True)
class Decomposed:
    r"""Minus the ELBO, taken apart into terms that can be weighed: the objective of HFVAE, and of beta-TCVAE.

    With the aggregate posterior q(z) = (1/N) sum over n of q(z | x_n), groups of latents z_1 ... z_G, and the elements
    z_e of each group (the dimensions of a site that ``.to_event`` declares independent, or a site that has none),

    .. math::
        -\text{ELBO} = \underbrace{-E[\log p(x \mid z)]}_{\texttt{reconstruction}}
        + \sum_g \underbrace{I(x; z_g \mid z_{<g})}_{\texttt{information/}g}
        + \underbrace{E \log \tfrac{q(z)}{\prod_g q(z_g)}}_{\texttt{between}}
        + \sum_g \underbrace{E \log \tfrac{q(z_g)}{\prod_{e \in g} q(z_e)}}_{\texttt{within/}g}
        + \sum_e \underbrace{KL(q(z_e), p(z_e))}_{\texttt{marginal/}e}

    in nats, expectations being over a datum of the batch and q(z | x). The terms under information add up to I(x; z),
    by the chain rule in the order of the groups: a weight on all of them is the paper's alpha; ``between`` and
    ``within`` are total correlations, the paper's beta and gamma. log q is estimated from the batch as
    ``stratified_log_weights`` says, and as the sum telescopes for any estimate of it, all weights of 1 give minus the
    ELBO up to rounding.

    Discrete latents are enumerated, all their joint values with one draw of the continuous ones for each: the mixture
    over them that q(z_e) is can then be computed, and their gradient has no noise but that of the others.

    Args:
        size: the number of data N in a pass over the data, of which a batch is a part.
        groups: by name, the sites of each group; without, every latent is a group of its own.
        weights: by the name of a term, or by the beginning of several up to a ``/`` or ``[``; the longest counts. What
            has none counts once. beta-TCVAE is ``{"within": beta}`` where all latents are one group.

    Raises:
        ValueError: if ``size`` or ``weights`` is no such thing, a site is in two groups, or, at the first call, groups
            and latents or weights and terms do not fit, or latents are not independent where they have to be: the
            guide's continuous ones given the data and the discrete ones, and the model's a priori; for a batch of one.

    Warning:
        The estimate of log q from a part of the data is too low in the mean (it is the logarithm of an unbiased one),
        the more so the more dimensions it is of and the fewer data: ``information`` is then too large, and
        correlations and marginal divergences are too small, while their sum is free of it. The information of all
        latents never exceeds log N.

    Reference: B. Esmaeili, H. Wu, S. Jain, A. Bozkurt, N. Siddharth, B. Paige, D. Brooks, J. Dy, J.-W. van de Meent
    (2019), Structured disentangled representations, section 3, https://arxiv.org/abs/1804.02086; R. T. Q. Chen, X. Li,
    R. Grosse, D. Duvenaud (2018), Isolating sources of disentanglement in VAEs, equations 2 and 4,
    https://arxiv.org/abs/1802.04942

    Example:
        >>> import pyro
        >>> from pyrometer.guides import GaussianEncoder
        >>> from pyrometer.models import VAE
        >>> pyro.set_rng_seed(0)
        >>> model, guide = VAE((8, 8), latents=2, hidden=9), GaussianEncoder((8, 8), latents=2, hidden=9)
        >>> objective = Decomposed(size=1000, weights={"within": 6.0, "marginal/code[1]": 2.0})
        >>> list(objective.terms(model, guide, image=torch.rand(5, 8, 8)))
        ['reconstruction', 'information/code', 'between', 'within/code', 'marginal/code[0]', 'marginal/code[1]']
    """

    size: int
    groups: Mapping[str, Sequence[str]] | None = None
    weights: Mapping[str, float] = field(default_factory=dict)
    checked: WeakKeyDictionary = field(default_factory=WeakKeyDictionary, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Refuses what no pair can be trained by."""
        if isinstance(self.size, bool) or not isinstance(self.size, int) or self.size < 2:
            raise ValueError(f"size must be the number of data, an integer of at least 2, got {self.size!r}.")
        seen: dict[str, str] = {}
        for group, sites in (self.groups or {}).items():
            if isinstance(sites, str) or not sites:
                raise ValueError(f"groups[{group!r}] must be a list of one or more site names, got {sites!r}.")
            for site in sites:
                if site in seen:
                    raise ValueError(
                        f"groups must have every site once, but {site!r} is in {seen[site]!r} and in {group!r}."
                    )
                seen[site] = group
        for name, weight in self.weights.items():
            if name.split("/")[0] not in KINDS:
                raise ValueError(f"weights must name terms, which begin with one of {list(KINDS)}, got {name!r}.")
            if not math.isfinite(weight):
                raise ValueError(f"weights[{name!r}] must be a finite number, got {weight}.")

    def __call__(self, model: Callable, guide: Callable, **batch: Any) -> Tensor:
        """The weighted terms of a batch, summed over its data: a scalar with gradient."""
        terms, rows = self._measure(model, guide, batch)
        return rows * sum((self.weight(name) * term for name, term in terms.items()), torch.zeros(()))

    def terms(self, model: Callable, guide: Callable, **batch: Any) -> dict[str, Tensor]:
        """The terms of a batch by name, in nats a datum, scalars with gradient; their sum is minus the mean ELBO."""
        return self._measure(model, guide, batch)[0]

    def weight(self, term: str) -> float:
        """The weight of a term: that of the longest name it begins with, or 1."""
        named = [name for name in self.weights if _is_under(term, name)]
        return float(self.weights[max(named, key=len)]) if named else 1.0

    def _measure(self, model: Callable, guide: Callable, batch: dict[str, Any]) -> tuple[dict[str, Tensor], int]:
        """The terms, and the number of data."""
        known = self.checked.get(guide)
        is_new = known is None or known() is not model
        if is_new:
            check_independent_latents(model, guide, batch)
        q = draw(guide, batch)
        self._check_batch(q.size)
        groups = self._groups(q.sites)
        with poutine.enum(first_available_dim=-2):
            p = poutine.trace(poutine.replay(model, trace=q.trace)).get_trace(**batch)
        p.compute_log_prob()
        data = [node["log_prob"] for name, node in sample_sites(p).items() if name not in q.sites]
        likelihood = sum((q.flat(log_prob) for log_prob in data), torch.zeros(()))
        terms = {"reconstruction": -q.mean(likelihood), **divergence(p, q, groups, self.size)}
        if is_new:
            self._check_weights(list(terms))
            self.checked[guide] = ref(model)
        return terms, q.size

    def _groups(self, latents: list[str]) -> dict[str, list[str]]:
        groups = {site: [site] for site in latents} if self.groups is None else self.groups
        named = [site for sites in groups.values() for site in sites]
        unknown, left = [s for s in named if s not in latents], [s for s in latents if s not in named]
        if unknown or left:
            raise ValueError(
                f"groups must hold the guide's latent sites, {latents}, each of them and nothing else, but "
                f"{unknown} are none, and {left} are left out."
            )
        return {group: list(sites) for group, sites in groups.items()}

    def _check_batch(self, rows: int) -> None:
        if rows < 2:
            raise ValueError(
                "a batch must have at least 2 data, from which q(z) is estimated, got 1: choose a batch_size that "
                "does not leave one datum over."
            )
        if rows > self.size:
            raise ValueError(
                f"size must be the number of all data, of which a batch is a part, got {self.size} and a batch of "
                f"{rows}."
            )

    def _check_weights(self, terms: list[str]) -> None:
        for name in self.weights:
            if not any(_is_under(term, name) for term in terms):
                raise ValueError(f"weights must name terms, which are {terms}, got {name!r}.")


def divergence(p: poutine.Trace, q: GuideDraws, groups: Mapping[str, list[str]], size: int) -> dict[str, Tensor]:
    """The terms whose sum is the mean of KL(q(z|x), p(z)), in nats a datum.

    Args:
        p: the model's trace at the draws.
        q: the draws.
        groups: the sites of each group.
        size: N.
    """

    table = q.densities()

    @cache
    def densities(*sites: str) -> tuple[Tensor, Tensor]:
        """log q(z_sites | x) of the draw's own datum, and log q(z_sites), each (S,)."""
        given_x = table.log_prob(sites)
        return table.own(given_x), table.aggregate(given_x, size)

    information, within, marginal = {}, {}, {}
    so_far, known, apart = (), torch.zeros(()), torch.zeros(())
    for group, sites in groups.items():
        before, so_far = known, (*so_far, *sites)
        given_x, together = densities(*so_far)
        known = given_x - together
        information[f"information/{group}"] = q.mean(known - before)
        alone = densities(*sites)[1]
        apart = apart + alone
        for site in sites:
            names, given_x, log_p = _elements(p, table, site)
            log_q = table.aggregate(given_x, size)
            alone = alone - log_q.sum(-1)
            marginal |= {f"marginal/{name}": part for name, part in zip(names, q.mean(log_q - log_p), strict=True)}
        within[f"within/{group}"] = q.mean(alone)
    return {**information, "between": q.mean(densities(*so_far)[1] - apart), **within, **marginal}


def _elements(p: poutine.Trace, table: Densities, site: str) -> tuple[list[str], Tensor, Tensor]:
    """The names of a site's elements, log q(z_e | x_j) of each, (S, B, D), and log p(z_e), (S, D)."""
    of_model: Any = p.nodes[site]
    prior = table.draws.flat(by_element(of_model["fn"], of_model["value"]), 1)
    given_x = table.log_prob_of_elements(site)
    if prior.shape[-1] != given_x.shape[-1]:  # one of the two takes them together
        prior, given_x = prior.sum(-1, keepdim=True), table.log_prob([site]).unsqueeze(-1)
    return element_names(site, of_model["fn"].event_shape, prior.shape[-1]), given_x, prior


def element_names(site: str, event: torch.Size, count: int) -> list[str]:
    """``SITE[i]`` for each of its elements, or ``SITE`` where it is but one.

    Example:
        >>> element_names("code", torch.Size([2]), 2)
        ['code[0]', 'code[1]']
    """
    indices = np.ndindex(*event) if count == event.numel() else [()]
    return [f"{site}{list(index)}" if index else site for index in indices]


def _is_under(term: str, name: str) -> bool:
    return term == name or term.startswith((f"{name}/", f"{name}["))
