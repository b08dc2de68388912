"""A model and a guide that have to fit together: the check before the first step."""

import inspect
import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import pyro
import pyro.poutine as poutine
import torch
from pyro.poutine import Trace
from pyro.util import check_site_shape
from torch import nn

from ..energy.structure import sample_sites
from .random_state import preserved_random_state

__all__ = ["check", "is_enumerated", "latent_sites", "module_of", "no_guide", "preserved_buffers", "traces"]

Site = dict[str, Any]


def no_guide(*args: Any, **kwargs: Any) -> None:
    """In the place of a guide where the objective infers the latents itself."""


def check(model: Callable, guide: Callable, *args: Any, **kwargs: Any) -> None:
    """Run a guide and a model once and raise where the pair cannot be trained, naming the site and the remedy.

    The random state, the modules' modes and buffers and Pyro's parameter store are afterwards what they were before;
    an AutoGuide has made its parameters.

    Args:
        model: p(x, z), any Pyro callable.
        guide: q(z | x), called with the same arguments.
        *args: how both are called, together with
        **kwargs: for example a batch of the data.

    Raises:
        ValueError: an argument is missing or unknown; latent sites differ (auxiliary ones of the guide apart, and
            discrete ones of the model that it marks for enumeration); event shapes or plates of a shared site differ;
            the guide observes something; a log-probability is not finite; or Pyro's own validation objects.

    Example:
        >>> import pyro, torch, pyro.distributions as dist
        >>> def model(y):
        ...     mean = pyro.sample("mean", dist.Normal(0.0, 2.0))
        ...     with pyro.plate("data", len(y)):
        ...         pyro.sample("y", dist.Normal(mean, 0.5), obs=y)
        >>> def guide(y):
        ...     pyro.sample("mu", dist.Normal(y.mean(), 0.1))
        >>> check(model, guide, y=torch.tensor([0.3, 1.2]))
        Traceback (most recent call last):
        ValueError: model and guide must have the same latent sites, but the model has ['mean'] and the guide ['mu']: \
the guide lacks ['mean'], the model lacks ['mu']. Rename them or add them.
    """
    store = pyro.get_param_store()
    known = set(store.keys())
    try:
        traces(model, guide, *args, **kwargs)
    finally:
        for name in set(store.keys()) - known:
            del store[name]


def traces(model: Callable, guide: Callable, *args: Any, **kwargs: Any) -> tuple[Trace, Trace]:
    """What :func:`check` does, with the traces of model and guide as the result; parameters made stay in the store."""
    for role, program in (("model", model), ("guide", guide)):
        _check_arguments(role, program, args, kwargs)
    modules = [module for module in (module_of(model), module_of(guide)) if module is not None]
    with preserved_random_state(), preserved_buffers(modules), pyro.validation_enabled(True), poutine.block():
        try:
            return _traces(model, guide, args, kwargs)
        except NotImplementedError as error:
            if "pyro.param statements in PyroModules" not in str(error):
                raise
            raise ValueError(
                "a pyro.param or pyro.module statement must not run inside a PyroModule, and an AutoGuide is one that "
                "runs its model: give the model its weights as nn.Parameter of a module."
            ) from error


def _traces(model: Callable, guide: Callable, args: tuple, kwargs: dict[str, Any]) -> tuple[Trace, Trace]:
    guide_trace = poutine.trace(guide).get_trace(*args, **kwargs)
    _check_nothing_observed(guide_trace)
    try:
        model_trace = poutine.trace(poutine.replay(model, trace=guide_trace)).get_trace(*args, **kwargs)
    except Exception:
        # The model may have choked on a value of the guide; if so, the comparison of sites tells why.
        _compare_sites(poutine.trace(model).get_trace(*args, **kwargs), guide_trace)
        raise
    if guide is not no_guide:
        _compare_sites(model_trace, guide_trace)
    for role, trace in (("model", model_trace), ("guide", guide_trace)):
        _check_log_probs(role, trace)
    return model_trace, guide_trace


def module_of(program: Callable) -> nn.Module | None:
    """The module that holds a program's weights: itself, or the one whose method it is."""
    owner = getattr(program, "__self__", program)
    return owner if isinstance(owner, nn.Module) else None


def latent_sites(trace: Trace) -> dict[str, Site]:
    """The sample sites of a trace that are neither observed nor a plate's subsampling."""
    return {name: site for name, site in sample_sites(trace).items() if not site["is_observed"]}


def _check_arguments(role: str, program: Callable, args: tuple, kwargs: dict[str, Any]) -> None:
    signature = inspect.signature(program.forward if isinstance(program, nn.Module) else program)
    try:
        signature.bind(*args, **kwargs)
    except TypeError as error:
        raise ValueError(
            f"{role} cannot be called with the arguments {sorted(kwargs)}: {error}. It takes {signature}; model and "
            "guide must both take every argument of a batch."
        ) from None


def _check_nothing_observed(guide_trace: Trace) -> None:
    observed = [
        name
        for name, site in sample_sites(guide_trace).items()
        if site["is_observed"] and not site["infer"].get("is_auxiliary") and not site["infer"].get("_deterministic")
    ]
    if observed:
        raise ValueError(
            f"guide must not observe anything, but its sites {observed} have obs=...: a guide draws the latent sites "
            "and leaves the others out."
        )


def _compare_sites(model_trace: Trace, guide_trace: Trace) -> None:
    of_model, of_guide = latent_sites(model_trace), latent_sites(guide_trace)
    lacking = [name for name in of_model if name not in of_guide and not is_enumerated(of_model[name])]
    unknown = [name for name in of_guide if name not in of_model and not of_guide[name]["infer"].get("is_auxiliary")]
    if lacking or unknown:
        discrete = [name for name in lacking if of_model[name]["fn"].has_enumerate_support]
        raise ValueError(
            f"model and guide must have the same latent sites, but the model has {sorted(of_model)} and the guide "
            f"{sorted(of_guide)}: the guide lacks {lacking}, the model lacks {unknown}. Rename them or add them."
            + (f" {discrete} can be summed out: config_enumerate(model) with TraceEnum_ELBO()." if discrete else "")
        )
    for name in of_model.keys() & of_guide.keys():
        _compare_site(name, of_model[name], of_guide[name])


def _compare_site(name: str, of_model: Site, of_guide: Site) -> None:
    shapes = tuple(of_model["fn"].event_shape), tuple(of_guide["fn"].event_shape)
    if shapes[0] != shapes[1]:
        raise ValueError(
            f"site {name!r} must have one event shape, but it is {shapes[0]} in the model and {shapes[1]} in the "
            "guide. Is a .to_event(...) missing, or do the sizes differ?"
        )
    plates = [{frame.name: frame.size for frame in site["cond_indep_stack"]} for site in (of_model, of_guide)]
    if plates[0] != plates[1]:
        raise ValueError(
            f"site {name!r} must be in the same plates (name: size), but it is in {plates[0]} in the model and in "
            f"{plates[1]} in the guide."
        )


def is_enumerated(site: Site) -> bool:
    """A discrete site that an enumerating objective sums out."""
    return site["infer"].get("enumerate") == "parallel" and site["fn"].has_enumerate_support


def _check_log_probs(role: str, trace: Trace) -> None:
    trace.compute_log_prob()
    for name, site in sample_sites(trace).items():
        check_site_shape(site, max_plate_nesting=math.inf)  # pyright: ignore[reportArgumentType] - Pyro's own default
        finite = torch.isfinite(site["log_prob"])
        if not finite.all():
            first = torch.nonzero(~finite)[0].tolist() or "the only one"
            raise ValueError(
                f"site {name!r} of the {role} must have a finite log-probability, but {int((~finite).sum())} of "
                f"{finite.numel()} elements are not (the first: {first}). Is the value outside the support, or a scale "
                "zero?"
            )


@contextmanager
def preserved_buffers(modules: Iterable[nn.Module]) -> Iterator[None]:
    """Whatever runs inside, buffers keep their values: a pass moves the running statistics of batch normalisation."""
    saved = [
        (owner, name, buffer, buffer.detach().clone())
        for module in modules
        for owner in module.modules()
        for name, buffer in owner.named_buffers(recurse=False)
    ]
    try:
        yield
    finally:
        for owner, name, buffer, value in saved:
            with torch.no_grad():
                buffer.copy_(value)
            setattr(owner, name, buffer)
