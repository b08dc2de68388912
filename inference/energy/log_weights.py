r"""Log weights of guide draws:  log w = -beta E(x, z) - log q(z),  in nats."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from .base_measure import Base
from .free_energy import temper_terms
from .guide_draws import Guide
from .scoring import global_energy, local_energy, total_energy
from .vectorize import Program

__all__ = ["ELEMENTS_AT_ONCE", "LatentsLeftOut", "LogWeights", "PointMass", "guide_log_weights"]

# Draws times data in one pass: bounds the memory, and keeps the tensors near the cache.
ELEMENTS_AT_ONCE = 20_000


class LogWeights(NamedTuple):
    """log w of S draws, in float64.

    By datum, (S, N), where every site outside the data plate is given; ``common`` is then what those sites add to
    beta E. Else of the total, (S, 1). ``energy`` is E(x, z) of the draws themselves, at beta = 1: (S,).
    """

    log_weights: Tensor
    by_datum: bool
    common: Tensor
    energy: Tensor
    latents: dict[str, Tensor]


class LatentsLeftOut(ValueError):  # noqa: N818 - it names what is missing
    """A guide does not sample latents that draws need; ``names`` are theirs."""

    def __init__(self, names: list[str], sampled: list[str]) -> None:
        super().__init__(
            f"the guide does not sample {names}; its sites are {sampled}. Importance draws need a value for every "
            f"latent: sample it in the guide, or pass it in `given`."
        )
        self.names = names


class PointMass(ValueError):  # noqa: N818 - it names what is there
    """A guide gives one value alone to continuous latents; ``names`` are theirs."""

    def __init__(self, names: list[str]) -> None:
        super().__init__(
            f"the guide puts a point mass on {names}: it has no density there, so neither importance weights nor an "
            f"ELBO exist. Take the energy at its point instead, view.energy(...), or a guide with a spread."
        )
        self.names = names


def guide_log_weights(
    program: Program, guide: Callable, beta: float, base: Base, given: Mapping[str, Tensor], draws: int
) -> LogWeights:
    r"""Draws from the guide with log w = -beta E(x, z) - log q(z), in nats.

    Raises:
        ValueError: if the guide leaves out a latent of the program, puts a point mass on one, or gives one another
            shape.
    """
    structure = program.structure
    q = Guide(guide, structure.data_plate, program.args, program.kwargs, given)
    missing = [name for name in structure.latents if name not in q.structure.sites and name not in given]
    if missing:
        raise LatentsLeftOut(missing, list(q.structure.sites))
    by_datum = structure.data_plate is not None and not _shared_sites(program, q, given)
    chunk = max(1, ELEMENTS_AT_ONCE // max(1, structure.size))
    parts = [
        _log_weights(program, q, beta, base, min(chunk, draws - start), by_datum) for start in range(0, draws, chunk)
    ]
    latents = {name: torch.cat([part.latents[name] for part in parts]) for name in parts[0].latents}
    points = q.point_masses({name: value for name, value in latents.items() if name not in given})
    if points:
        raise PointMass(points)
    weights, energy = torch.cat([part.log_weights for part in parts]), torch.cat([part.energy for part in parts])
    return LogWeights(weights, by_datum, parts[0].common, energy, latents)


def _shared_sites(program: Program, guide: Guide, given: Mapping[str, Tensor]) -> list[str]:
    """Sites outside the data plate that are not given: they couple the data, or may."""
    sites = [*program.structure.sites.values(), *guide.structure.sites.values()]
    return [s.name for s in sites if program.structure.data_plate not in s.plates and s.name not in given]


@torch.no_grad()
def _log_weights(program: Program, guide: Guide, beta: float, base: Base, draws: int, by_datum: bool) -> LogWeights:
    structure = program.structure
    sample = guide.draw(draws)
    given = {name: value.expand(draws, *value.shape) for name, value in guide.given.items()}
    latents = {**{name: value for name, value in sample.latents.items() if name in structure.latents}, **given}
    terms = program.terms(latents)
    # Latents held fixed count as data, so that F_1 is the same by every base measure.
    tempered = temper_terms(terms, [name for name in structure.latents if name not in guide.given], beta, base)
    lead = torch.Size([draws])
    energy = total_energy(terms, lead, structure).double()
    if by_datum:
        log_weights = local_energy(sample.terms).double() - local_energy(tempered).double()
        common = global_energy(tempered, lead)[0].double()
        return LogWeights(log_weights.expand(draws, structure.size), by_datum, common, energy, latents)
    log_weights = (
        total_energy(sample.terms, lead, structure).double() - total_energy(tempered, lead, structure).double()
    )
    return LogWeights(log_weights.unsqueeze(-1), by_datum, torch.zeros(()).double(), energy, latents)
