r"""The factors of a tempered program, site by site:  log factor = measure + beta * tempered."""

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor

from .base_measure import Base, log_volume
from .enumerated_trace import NotEnumerable, is_given
from .log_ring import LADDER, MOMENTS, with_dims
from .structure import Structure, subsampling

__all__ = ["IMPOSSIBLE", "LOG_ZERO", "Factor", "factor_at", "moments_at", "site_factor"]

# Stands for log 0 in sums: -inf times beta would make derivatives nan.
LOG_ZERO = -1e30
# An energy above this one is infinite: it stands on LOG_ZERO, whatever scale went with it.
IMPOSSIBLE = 1e20


class Factor(NamedTuple):
    """One site in float64, packed: ``dims`` names the dimensions of both tensors by one letter each."""

    measure: Tensor
    tempered: Tensor
    dims: str


def site_factor(name: str, site: Any, structure: Structure, base: Base, maximum: bool = False) -> Factor:
    """The factor of a site of an enumerated trace.

    Data, and latents that are given, are tempered whole; other latents by the base measure. Where the mask is off
    data have no factor, and latents keep their prior at every temperature. With ``maximum`` there is no measure, and
    ``tempered`` is minus the energy.
    """
    log_prob = site["unscaled_log_prob"].double().clamp(min=LOG_ZERO)
    frames = site["cond_indep_stack"]
    # The user's own scale; a plate's factor is applied where the plate's product is taken.
    scale = site["scale"] / subsampling(frames)
    zero = torch.zeros_like(log_prob)
    if site["is_observed"] or is_given(site):
        on, off = (zero, scale * log_prob), (zero, zero)
    elif maximum:
        on, off = (zero, scale * log_prob), (zero, torch.where(log_prob > LOG_ZERO, 0.0, LOG_ZERO))
    else:
        share = _measure_share(site, structure)
        prior = share * (_prior(site, log_prob) + _log_jacobian(site))
        off = (prior, zero)
        if base == "prior":  # a power of zero is zero here, also a negative one
            on = (prior, (scale - share) * torch.where(log_prob > LOG_ZERO, log_prob, 0.0))
        else:
            on = (share * (_log_jacobian(site) - _log_size(name, site, base)), scale * log_prob)
    on, off = torch.broadcast_tensors(*on), torch.broadcast_tensors(*off)
    if site["mask"] is not None:
        mask = torch.as_tensor(site["mask"], device=log_prob.device)
        on = torch.where(mask, on[0], off[0]), torch.where(mask, on[1], off[1])
    repeated = subsampling([frame for frame in frames if not frame.vectorized], without=structure.data_plate)
    return _packed(name, site, structure.depth, repeated * torch.stack(on))


def factor_at(factor: Factor, beta: Tensor) -> Tensor:
    """The packed log factor at one inverse temperature, (), or at several, (B,), along the dimension ``LADDER``."""
    beta = beta.to(factor.measure.device)
    if beta.dim() == 0:
        return with_dims(factor.measure + beta * factor.tempered, factor.dims)
    ladder = beta.reshape(-1, *[1] * factor.tempered.dim())
    return with_dims(factor.measure + ladder * factor.tempered, LADDER + factor.dims)


def moments_at(factor: Factor, betas: Tensor) -> Tensor:
    """The packed moments of a factor at inverse temperatures (B,), before any sum: see ``MOMENTS``."""
    log_factor = factor_at(factor, betas)
    measure, energy = factor.measure.expand_as(log_factor), -factor.tempered.expand_as(log_factor)
    moments = torch.stack([log_factor, energy, torch.zeros_like(energy), measure])
    return with_dims(moments, MOMENTS + LADDER + factor.dims)


def _prior(site: Any, log_prob: Tensor) -> Tensor:
    """log p; of an enumerated site summing to one in float64, since at small beta a defect is divided by beta."""
    dim = site["infer"].get("_enumerate_dim")
    if dim is None:
        return log_prob
    if log_prob.dim() < -dim:  # one value only
        return torch.zeros_like(log_prob)
    return (log_prob - log_prob.logsumexp(dim, keepdim=True)).clamp(min=LOG_ZERO)


def _log_jacobian(site: Any) -> Tensor:
    jacobian = site["infer"].get("_log_jacobian")
    return torch.zeros((), dtype=torch.float64) if jacobian is None else jacobian.double()


def _log_size(name: str, site: Any, base: Base) -> Tensor:
    """What a normalised base measure divides by: 1, or with ``base="uniform"`` the size of the support."""
    if base != "uniform":
        return torch.zeros((), dtype=torch.float64)
    if site["infer"].get("_enumerate_dim") is not None:
        return torch.tensor(math.log(len(site["fn"].enumerate_support(expand=False))), dtype=torch.float64)
    return log_volume(name, site["fn"]).double()


def _measure_share(site: Any, structure: Structure) -> float:
    """A plate's product repeats whole factors for its subsampling, which is right for sums but not for a measure du."""
    if "_log_jacobian" not in site["infer"]:
        return 1.0
    return 1 / subsampling(site["cond_indep_stack"], without=structure.data_plate)


def _packed(name: str, site: Any, depth: int, both: Tensor) -> Factor:
    """Names the dimensions, and sums those that no plate declares: their elements are factors of one site."""
    letters = site["infer"]["_dim_to_symbol"]
    batch = both.shape[1:]
    wide = [dim for dim in range(-len(batch), 0) if batch[dim] > 1]
    undeclared = [dim for dim in wide if dim not in letters]
    if any(dim < -depth for dim in undeclared):
        raise NotEnumerable(
            f"the log-probability of the site {name!r} has the shape {tuple(batch)}, in which a dimension belongs "
            f"neither to a plate nor to a discrete latent in reach (inside pyro.markov only the last steps are). "
            f"Declare it by a pyro.plate or by `.to_event`."
        )
    if undeclared:
        both = both.sum(undeclared, keepdim=True)
    kept = [dim for dim in wide if dim in letters]
    both = both.reshape(2, *[batch[dim] for dim in kept])
    return Factor(both[0], both[1], "".join(letters[dim] for dim in kept))
