r"""The best assignment of every discrete latent:  argmin over z of E(x, z), by max-product elimination."""

from collections.abc import Mapping
from typing import Any

import torch
from pyro.ops import packed
from torch import Tensor

from .elimination import LogPartition, eliminate
from .enumerated_trace import NOTHING, enumerated_trace
from .enumeration_check import check_enumeration
from .factors import IMPOSSIBLE, factor_at, site_factor
from .log_ring import dims_of, with_dims
from .structure import sample_sites
from .vectorize import Program

__all__ = ["discrete_minimiser"]


def discrete_minimiser(
    program: Program, given: Mapping[str, Tensor], coordinates: Mapping[str, Tensor] = NOTHING
) -> tuple[LogPartition, dict[str, Tensor]]:
    r"""The least energy over the free discrete latents, exactly, and an assignment that has it.

    Where several tie one of them is taken. A latent whose mask is off has no energy: any value of its prior's support.

    Args:
        program: the program, as called.
        given: latents held fixed at these values.
        coordinates: continuous latents by their unconstrained coordinates.

    Returns:
        The energies, by datum, (N,), or None, and what no datum owns, (); +inf where nothing is possible. And by name
        the free discrete latents, in the sites' own shapes.

    Raises:
        NotEnumerable: (a ValueError) where the latents cannot be summed out either.

    Example:
        >>> import pyro, pyro.distributions as dist
        >>> from pyrometer import EnergyView
        >>> def model(y):
        ...     with pyro.plate("data", 3):
        ...         k = pyro.sample("k", dist.Categorical(torch.tensor([0.9, 0.1])))
        ...         pyro.sample("y", dist.Normal(2.0 * k, 1.0), obs=y)
        >>> energy, best = discrete_minimiser(EnergyView(model).bind(torch.tensor([0.1, 1.9, 3.0])).program, {})
        >>> best["k"]
        tensor([0, 0, 1])
    """
    trace, structure = enumerated_trace(program, given, coordinates), program.structure
    if not coordinates:  # who passes some calls often, and checks once
        check_enumeration(trace, program, given)
    sites = sample_sites(trace)
    free = {name: site for name, site in sites.items() if site["infer"].get("_enumerate_dim") is not None}
    one = torch.ones((), dtype=torch.float64)
    factors = {n: factor_at(site_factor(n, s, structure, "lebesgue", maximum=True), one) for n, s in sites.items()}
    # The derivative of a maximum by a factor that is added to it is 1 where the maximiser lies and 0 elsewhere.
    probes = {name: _probe(site, factors[name], trace.plate_to_symbol) for name, site in free.items()}
    terms = [(sites[name], term) for part in (factors, probes) for name, term in part.items()]
    with torch.enable_grad():
        best = eliminate(terms, trace, structure, maximum=True)
        total = best.common if best.per_datum is None else best.common + best.per_datum.sum()
        reached = torch.autograd.grad(total, list(probes.values())) if probes else ()
    chosen = {}
    for (name, probe), gradient in zip(probes.items(), reached, strict=True):
        chosen[name] = _values(free[name], structure.sites[name].shape, with_dims(gradient, dims_of(probe)))
    per_datum = None if best.per_datum is None else _energy(best.per_datum)
    return LogPartition(per_datum, _energy(best.common)), chosen


def _energy(log_factor: Tensor) -> Tensor:
    energy = -log_factor.detach()
    return torch.where(energy > IMPOSSIBLE, torch.inf, energy)


def _probe(site: Any, term: Tensor, plates: Mapping[str, str]) -> Tensor:
    """Zeros along the latent's own values and plates."""
    own = {site["infer"]["_enumerate_symbol"]} | {plates[f.name] for f in site["cond_indep_stack"] if f.vectorized}
    kept = [(dim, size) for dim, size in zip(dims_of(term), term.shape, strict=True) if dim in own]
    zeros = torch.zeros([size for _, size in kept], dtype=term.dtype, device=term.device, requires_grad=True)
    return with_dims(zeros, "".join(dim for dim, _ in kept))


def _values(site: Any, shape: torch.Size, reached: Tensor) -> Tensor:
    """The value whose probe was reached, in the site's own shape."""
    letter, dims, fn = site["infer"]["_enumerate_symbol"], dims_of(reached), site["fn"]
    if letter in dims:
        index = with_dims(reached.argmax(dims.index(letter)), dims.replace(letter, ""))
    else:  # one value only
        index = with_dims(torch.zeros_like(reached, dtype=torch.long), dims)
    unpacked = packed.unpack(index, {letter: dim for dim, letter in site["infer"]["_dim_to_symbol"].items()})
    support = fn.enumerate_support(expand=False)
    return support.reshape(len(support), *fn.event_shape)[unpacked.expand(shape[: len(shape) - fn.event_dim])]
