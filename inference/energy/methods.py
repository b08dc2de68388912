"""The choice of a free-energy method, by name or automatically."""

import inspect
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch

from .annealed_free_energy import annealed_free_energy
from .bidirectional import bidirectional_free_energy
from .enumeration import enumerated_free_energy
from .free_energy import FreeEnergy, reliable_pareto_k
from .importance import importance_free_energy
from .landscape import Landscape, landscape
from .laplace import laplace_free_energy
from .problem import Problem
from .quadrature import quadrature_free_energy

__all__ = ["METHODS", "free_energy", "quadrature_is_quick"]


def _enumerate(problem: Problem, guide: Callable | None = None) -> FreeEnergy:  # noqa: ARG001 - exact without it
    return enumerated_free_energy(problem.program, problem.beta, problem.base, problem.given)


METHODS: dict[str, Callable[..., FreeEnergy]] = {
    "enumerate": _enumerate,
    "quadrature": quadrature_free_energy,
    "importance": importance_free_energy,
    "annealing": annealed_free_energy,
    "laplace": laplace_free_energy,
    "bidirectional": bidirectional_free_energy,
}
"""The methods by name: each takes a problem, a guide (or None) and options of its own."""


def free_energy(problem: Problem, method: str, guide: Callable | None, options: dict[str, Any]) -> FreeEnergy:
    """F_beta by the method named, or by the one that "auto" picks.

    Raises:
        ValueError: if there is no such method, or it has no such option.
    """
    if method == "auto":
        if options:
            raise ValueError(f"the options {sorted(options)} are those of one method: name it, method=...")
        return _automatic(problem, guide)
    if method not in METHODS:
        raise ValueError(f"method must be auto or one of {', '.join(METHODS)}, got {method!r}.")
    known = list(inspect.signature(METHODS[method]).parameters)[2:]
    unknown = sorted(options.keys() - set(known))
    if unknown:
        raise ValueError(f"method {method!r} has no options {unknown}; it has {known or 'none'}.")
    return METHODS[method](problem, guide, **options)


def _automatic(problem: Problem, guide: Callable | None) -> FreeEnergy:
    """Enumeration, else quadrature in few dimensions, else a guide's draws if they are good, else annealing.

    ``evidence["passed_over"]`` says what was tried before, and why its answer was not taken.
    """
    if problem.discrete:
        return METHODS["enumerate"](problem, guide)
    passed_over: dict[str, str] = {}
    land = landscape(problem.program, problem.given)
    if quadrature_is_quick(land):
        try:
            return quadrature_free_energy(problem, guide)
        except ValueError as error:
            passed_over["quadrature"] = str(error)
    if guide is not None:
        found = importance_free_energy(problem, guide)
        k = torch.as_tensor(found.evidence["pareto_k"])
        if (k < reliable_pareto_k(found.evidence["draws"])).all():
            return _with_evidence(found, passed_over)
        passed_over["importance"] = f"Pareto k is {k.max().item():.2f}: the guide's draws do not cover the posterior."
    return _with_evidence(annealed_free_energy(problem, guide), passed_over)


def quadrature_is_quick(land: Landscape) -> bool:
    """Up to two dimensions by datum, and three for a few data: a lattice has some 10^5 points then."""
    return land.dimension <= 2 or (land.dimension == 3 and land.groups <= 10)


def _with_evidence(found: FreeEnergy, passed_over: dict[str, str]) -> FreeEnergy:
    return replace(found, evidence=found.evidence | {"passed_over": passed_over})
