r"""Sums over the enumerated latents of a trace:  log Z = log sum over z of exp(measure - beta E)."""

from collections import OrderedDict
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import torch
from pyro import poutine
from pyro.ops.contract import contract_tensor_tree
from torch import Tensor

from .base_measure import Base
from .enumerated_trace import NotEnumerable
from .factors import factor_at, moments_at, site_factor
from .log_ring import LADDER, MOMENTS, StableLogRing, dims_of
from .structure import Structure, sample_sites, subsampling

__all__ = ["LogPartition", "eliminate", "log_partition", "moments"]


class LogPartition(NamedTuple):
    """log Z in nats, float64: by datum, (N,), without the data plate's subsampling factor, and what no datum owns, ().

    ``per_datum`` is None where no factor is left to a single datum. Several inverse temperatures stand in front.
    """

    per_datum: Tensor | None
    common: Tensor


def log_partition(
    trace: poutine.Trace, structure: Structure, beta: float | Tensor, base: Base, maximum: bool = False
) -> LogPartition:
    r"""log of the sum over the enumerated latents of exp(measure - beta E), given the values of all other latents.

    Data and given latents add -beta E, with every base measure and where their mask is on. Free latents, enumerated
    or by coordinates, add by ``base`` ("s" is the user's own ``poutine.scale``):

    * ``"lebesgue"``: beta s log p;
    * ``"prior"``: log p + beta (s - 1) log p, where p of an enumerated latent is normalised in float64;
    * ``"uniform"``: beta s log p - log of the size of the support;

    each log p where their mask is off; and coordinates log \|dz / du\|. An impossible assignment counts as -1e30 nats
    times beta, so that derivatives stay finite: nothing at every beta but 0, where it counts like the others.

    Args:
        trace: from ``enumerated_trace``; differentiable in its values, and the result is.
        structure: the program's.
        beta: inverse temperature, at least 0: a number, a tensor (), or several at once, (B,): the result is then
            (B, N) and (B,). Differentiable, twice in forward mode.
        base: the base measure.
        maximum: the maximum of -E over the enumerated latents instead of the sum, without measure or temperature;
            a latent whose mask is off is only kept inside its prior's support.

    Raises:
        NotEnumerable: (a ValueError) where latents of crossed plates meet, or a joint table would be too large.

    Example:
        >>> import pyro, pyro.distributions as dist
        >>> from pyrometer import EnergyView
        >>> from pyrometer.inference.energy.enumeration import enumerated_trace
        >>> def model():
        ...     z = pyro.sample("z", dist.Normal(0.0, 2.0))
        ...     k = pyro.sample("k", dist.Bernoulli(0.25))
        ...     pyro.sample("x", dist.Normal(z + k, 0.5), obs=torch.tensor(1.2))
        >>> program = EnergyView(model).bind().program
        >>> u = torch.tensor([-1.0, 0.2, 0.9])  # three draws of z, summed over k at once
        >>> def log_density(u):
        ...     return log_partition(enumerated_trace(program, {}, {"z": u}), program.structure, 1.0, "lebesgue").common
        >>> torch.vmap(log_density)(u)
        tensor([-6.2258, -2.8884, -2.2672], dtype=torch.float64)
    """
    ladder = torch.as_tensor(1.0 if maximum else beta, dtype=torch.float64)
    sites = sample_sites(trace)
    terms = [
        (site, factor_at(site_factor(name, site, structure, base, maximum), ladder)) for name, site in sites.items()
    ]
    return eliminate(terms, trace, structure, maximum)


def moments(trace: poutine.Trace, structure: Structure, betas: Tensor, base: Base) -> LogPartition:
    """log Z, the mean of the energy, its variance and log Z + beta U, as (4, B, N) and (4, B), at betas (B,)."""
    factors = ((site, site_factor(name, site, structure, base)) for name, site in sample_sites(trace).items())
    return eliminate([(site, moments_at(factor, betas)) for site, factor in factors], trace, structure, maximum=False)


def eliminate(
    terms: Iterable[tuple[Any, Tensor]], trace: poutine.Trace, structure: Structure, maximum: bool
) -> LogPartition:
    """Sums (or maximises) packed factors, each with its site, over the enumerated latents, datum by datum if it can."""
    terms = list(terms)
    ring = _ring(terms, trace, maximum)
    data = trace.plate_to_symbol.get(structure.data_plate or "")
    lead = [ring._dim_to_size[letter] for letter in (MOMENTS, LADDER) if letter in ring._dim_to_size]
    common, local = terms[0][1].new_zeros(lead) if terms else torch.zeros((), dtype=torch.float64), {}
    for counter, group in _by_datum(terms, trace, structure).items():
        for plates, term in _contract(group, trace, ring):
            if data is not None and data in plates:
                spread = _spread(ring.product(term, plates - {data}), data).expand(*lead, structure.size)
                local[None] = local[None] + spread if None in local else spread
            elif counter is not None:
                local[counter] = local.get(counter, 0.0) + ring.product(term, plates)
            else:
                common = common + ring.product(term, plates)
    if not local:
        return LogPartition(None, common)
    if None in local:
        return LogPartition(local[None], common)
    return LogPartition(torch.stack([value for _, value in sorted(local.items())], -1), common)


def _ring(terms: list[tuple[Any, Tensor]], trace: poutine.Trace, maximum: bool) -> StableLogRing:
    sizes = {letter: size for _, term in terms for letter, size in zip(dims_of(term), term.shape, strict=True)}
    frames = {frame for site, _ in terms for frame in site["cond_indep_stack"] if frame.vectorized}
    factors = {trace.plate_to_symbol[frame.name]: subsampling((frame,)) for frame in frames}
    return StableLogRing(dim_to_size=sizes, maximum=maximum, plate_factors=factors)


def _latent_letters(term: Tensor, trace: poutine.Trace) -> set[str]:
    return set(dims_of(term)) - set(trace.plate_to_symbol.values()) - {LADDER, MOMENTS}


def _by_datum(
    terms: list[tuple[Any, Tensor]], trace: poutine.Trace, structure: Structure
) -> dict[int | None, list[tuple[Any, Tensor]]]:
    """The factors by element of a sequential data plate; in one group where there is none or a latent couples it."""
    reached: dict[str, set[int | None]] = {}
    counters = [_counter(site, structure) for site, _ in terms]
    for (_, term), counter in zip(terms, counters, strict=True):
        for letter in _latent_letters(term, trace):
            reached.setdefault(letter, set()).add(counter)
    coupled = any(len(group) > 1 for group in reached.values())
    groups: dict[int | None, list[tuple[Any, Tensor]]] = {}
    for pair, counter in zip(terms, counters, strict=True):
        groups.setdefault(None if coupled else counter, []).append(pair)
    return groups


def _counter(site: Any, structure: Structure) -> int | None:
    frames = (f for f in site["cond_indep_stack"] if f.name == structure.data_plate and not f.vectorized)
    return next((frame.counter for frame in frames), None)


def _contract(
    group: list[tuple[Any, Tensor]], trace: poutine.Trace, ring: StableLogRing
) -> Iterator[tuple[frozenset[str], Tensor]]:
    """What is left of the factors when no latent is, with the plates that it lies in."""
    letters = trace.plate_to_symbol
    tree: OrderedDict[frozenset[str], list[Tensor]] = OrderedDict()
    summed: set[str] = set()
    for site, term in group:
        plates = frozenset(letters[frame.name] for frame in site["cond_indep_stack"] if frame.vectorized)
        tree.setdefault(plates, []).append(term)
        summed |= _latent_letters(term, trace)
    try:
        contracted = contract_tensor_tree(tree, summed, ring=ring)
    except NotImplementedError as error:  # it names the plates by their letters, between brackets
        named = str(error).partition("[")[2].partition("]")[0]
        crossed = [name for name, letter in letters.items() if letter in named]
        raise NotEnumerable(
            f"discrete latents of the plates {crossed} meet where these plates cross, and the cost of their sum grows "
            f"exponentially with the plates' sizes; make one plate sequential (`for i in pyro.plate(...)`) if it is "
            f"small, or hold the latents of one fixed with `given`."
        ) from error
    except ValueError as error:  # of the ring, which knows letters only
        names = [site["name"] for site, _ in group if site["infer"].get("_enumerate_dim") is not None]
        raise NotEnumerable(
            f"the latents {names} depend on each other too much: {error} Hold some of them fixed with `given`, or "
            f"write a chain with pyro.markov."
        ) from error
    for plates, left in contracted.items():
        for term in left:
            yield plates, term


def _spread(term: Tensor, data: str) -> Tensor:
    """A term with its data at the end; their number is 1 where it does not vary."""
    dims = dims_of(term)
    if data not in dims:
        return term.unsqueeze(-1)
    return term.movedim(dims.index(data), -1)
