"""Runs a program with every free discrete latent at all its values at once, each along a dimension of its own."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import pyro
import pyro.distributions as dist
import pyro.poutine as poutine
import torch
from pyro.poutine.enum_messenger import EnumMessenger
from torch import Tensor

from .structure import Structure, sample_sites, subsampling
from .substitute import FromCoordinates, LiftMasks, Substitute, hide_samples, is_subsample
from .vectorize import Program

__all__ = ["NotEnumerable", "enumerated_trace", "is_given"]

NOTHING: Mapping[str, Tensor] = MappingProxyType({})
# torch allows 64 in a tensor; some are left for plates and for stacking.
MOST_DIMS = 58


class NotEnumerable(ValueError):  # noqa: N818  (the name says what is wrong, and callers catch it by that)
    """The discrete latents of a program cannot be summed out; the message names the site, the reason and a remedy."""


def enumerated_trace(
    program: Program, given: Mapping[str, Tensor], coordinates: Mapping[str, Tensor] = NOTHING
) -> poutine.Trace:
    """One run in which every free discrete latent holds all its values; ``log_partition`` sums them.

    Works under ``torch.vmap`` over the values passed, and is differentiable in them and in the program's parameters.

    Args:
        program: the program, as called.
        given: latents held fixed at these values, in the sites' own shapes.
        coordinates: continuous latents by their unconstrained coordinates.

    Raises:
        NotEnumerable: (a ValueError) naming a latent that is neither passed nor has finitely many values, or the site
            at which the program fails when latents take all their values at once.
    """
    structure = program.structure
    held = {*given, *coordinates}
    enumerate_free = _EnumerateFree(structure, held)
    substitute, from_coordinates = Substitute(given, structure.subsamples), FromCoordinates(coordinates)
    tracer, where = poutine.trace(), ""
    # Validation would raise on a value outside its support, whose energy is infinite; and it reads values, which
    # torch.vmap forbids.
    with hide_samples(), LiftMasks(), substitute, from_coordinates, pyro.validation_enabled(False):
        try:
            with enumerate_free, tracer:
                program.callable(*program.args, **program.kwargs)
            for name, site in sample_sites(tracer.trace).items():
                where = f"at the site {name!r}"
                site["unscaled_log_prob"] = _log_prob(site)
        except NotEnumerable:
            raise
        except Exception as error:  # a program may fail in any way where a value is a whole axis
            free = [name for name in structure.latents if name not in held]
            if not free:
                raise
            done = list(sample_sites(tracer.trace))
            where = where or (f"after the site {done[-1]!r}" if done else "before its first site")
            raise NotEnumerable(_failure(error, where, free)) from error
    trace = poutine.util.prune_subsample_sites(tracer.trace)
    trace.symbolize_dims()
    return trace


def _failure(error: Exception, where: str, free: list[str]) -> str:
    reason = f"{type(error).__name__}: {error}".splitlines()[0]
    return (
        f"the program fails {where} when {free} hold all their values at once, as a sum over them needs ({reason}). It "
        f"may branch on such a value, loop over it, use it as a Python number, or use it beyond the reach of its "
        f"pyro.markov; write it with tensors that broadcast (torch.where, indexing), or hold the latent fixed with "
        f"`given`."
    )


class _EnumerateFree(EnumMessenger):
    """Enumerates every latent that is not held, whatever the program's own settings of enumeration."""

    def __init__(self, structure: Structure, held: set[str]) -> None:
        # To the left of undeclared batch dimensions too, else these would be taken for values of a latent.
        super().__init__(-1 - structure.depth)
        self.structure, self.held = structure, held

    def _pyro_sample(self, msg: Any) -> None:
        infer = {
            k: v for k, v in (msg["infer"] or {}).items() if k not in ("enumerate", "num_samples", "expand", "tmc")
        }
        if not (msg["is_observed"] or is_subsample(msg) or msg["name"] in self.held):
            self._refuse(msg)
            infer |= {"enumerate": "parallel", "expand": False}
        msg["infer"] = infer
        super()._pyro_sample(msg)
        if msg["infer"].get("_enumerate_dim", -1) < -MOST_DIMS:
            raise NotEnumerable(
                f"{msg['name']!r} is one latent too many to be enumerated beside those before it: a tensor has at most "
                f"64 dimensions. Put latents that are alike into a pyro.plate, and chains into pyro.markov."
            )

    def _refuse(self, msg: Any) -> None:
        name, fn, frames = msg["name"], msg["fn"], msg["cond_indep_stack"]
        kind = f"the latent {name!r} ({type(fn).__name__}) cannot be enumerated: "
        hold = "hold it fixed with `given`"
        if not fn.has_enumerate_support:
            raise NotEnumerable(f"{kind}{_why_not(fn)}; take a method for such latents, or {hold}.")
        try:
            fn.enumerate_support(expand=False)
        except NotImplementedError as error:
            raise NotEnumerable(f"{kind}{error} Make its support the same for all elements, or {hold}.") from error
        plates = {frame.dim for frame in frames if frame.vectorized}
        own = fn.batch_shape[max(0, len(fn.batch_shape) - self.structure.depth) :]
        batch = {index - len(own) for index, size in enumerate(own) if size > 1}
        if batch - plates:
            raise NotEnumerable(
                f"{kind}its batch shape {tuple(fn.batch_shape)} has dimensions that no plate declares; put it into a "
                f"pyro.plate, or {hold}."
            )
        unsized = [frame.name for frame in frames if frame.vectorized and frame.size < 1]
        if any(-frame.dim > len(own) or own[frame.dim] == 1 for frame in frames if frame.name in unsized):
            raise NotEnumerable(
                f"{kind}it has one value for all elements of the plate {unsized[0]!r}; give the plate its size, or "
                f"{hold}."
            )
        sequential = tuple(frame for frame in frames if not frame.vectorized)
        if subsampling(sequential, without=self.structure.data_plate) != 1:
            raise NotEnumerable(
                f"{kind}it lies in a sequential plate that is subsampled; use a vectorised plate (`with`), or {hold}."
            )

    def _pyro_post_sample(self, msg: Any) -> None:
        # As the parent's, which reads value.data: torch.vmap forbids that.
        if msg["value"] is None or is_subsample(msg):
            return
        shape = msg["value"].shape[: msg["value"].dim() - msg["fn"].event_dim]
        ids = msg["infer"].setdefault("_dim_to_id", {})
        ids.update(self._param_dims.get(msg["name"], {}))
        self._value_dims[msg["name"]] = {d: i for d, i in ids.items() if len(shape) >= -d and shape[d] > 1}


def _why_not(fn: Any) -> str:
    base = fn
    while isinstance(base, dist.Independent | dist.MaskedDistribution):
        base = base.base_dist
    if base.has_enumerate_support:
        return "its elements are one event; declare them by a pyro.plate instead of `.to_event`"
    try:
        return "it has infinitely many values" if base.support.is_discrete else "it is continuous"
    except NotImplementedError:
        return "it states no support"


def _log_prob(site: Any) -> Tensor:
    log_prob = torch.as_tensor(site["fn"].log_prob(site["value"]))
    if not is_given(site):
        return log_prob
    try:
        inside = site["fn"].support.check(site["value"])
    except NotImplementedError:  # a distribution that states no support takes every value
        return log_prob
    return torch.where(inside, log_prob, -torch.inf)


def is_given(site: Any) -> bool:
    """Whether a latent is held at a value, as data are, rather than integrated over by its coordinates."""
    return bool(site["infer"].get("_given")) and "_log_jacobian" not in site["infer"]
