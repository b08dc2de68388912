"""Latents and data simulated from a program, and the program bound to them:  z~, x~ ~ p(z, x)."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import pyro.poutine as poutine
import torch
from torch import Tensor

from ..energy.scoring import run, scale_without_data_plate
from ..energy.structure import Structure, probe, sample_sites
from ..energy.vectorize import Program
from .data_arguments import DataArguments

__all__ = ["Simulated", "Simulator", "data_sites"]


class Simulated(NamedTuple):
    """Latents drawn from a program, and data drawn at them, by site; ``seen`` is false where a mask leaves data out."""

    latents: dict[str, Tensor]
    data: dict[str, Tensor]
    seen: dict[str, Tensor]


def data_sites(structure: Structure) -> list[str]:
    """The observed sites that hold data: what a ``pyro.deterministic`` computes is none."""
    return [site.name for site in structure.sites.values() if site.observed and not site.computed]


class Simulator:
    """Draws latents and data from a program, and binds it to such data.

    The data reach the program, and a guide with the same arguments, in the place of its own among these: see
    ``DataArguments``. Whether the program then observes what was simulated is checked. What a mask leaves out is no
    data: there the arguments stay as they are.

    Args:
        program: a program as called, whose data give their shapes alone.

    Raises:
        ValueError: if there are no data, they are not found among the arguments, or the program cannot simulate what
            it scores: it has factors, or a ``poutine.scale``, or a subsample of data that share a latent.
    """

    def __init__(self, program: Program) -> None:
        self.program, self.sites = program, data_sites(program.structure)
        _check(program.structure, self.sites)
        self.arguments = DataArguments(program, self.sites)

    @torch.no_grad()
    def draw(self) -> Simulated:
        """One simulation, from the random state as it is."""
        structure = self.program.structure
        nodes = sample_sites(run(poutine.uncondition(self.program.callable), structure, self.program.call, {}))
        _refuse_scales(nodes, structure)
        for name in self.sites:
            _check_size(name, nodes[name]["value"], structure.observed[name])
        latents, data = ({name: nodes[name]["value"] for name in names} for names in (structure.latents, self.sites))
        return Simulated(latents, data, {name: _seen(nodes[name]) for name in self.sites})

    def bind(self, simulated: Simulated) -> Program:
        """The program called with these data."""
        model, structure = self.program.callable, self.program.structure
        args, kwargs = self.arguments.with_data(simulated.data, simulated.seen)
        # The probe chooses other indices of a subsampled plate than those that the data were simulated with.
        found = replace(probe(model, structure.data_plate, args, kwargs), subsamples=structure.subsamples)
        for name in self.sites:
            _check_observed(name, found.observed[name], simulated)
        return Program(model, args, kwargs, found, self.program.chosen, self.program.refused)


def _check(structure: Structure, sites: list[str]) -> None:
    factors = [name for name in sites if structure.observed[name].numel() == 0]
    if factors:
        raise ValueError(
            f"the sites {factors} are factors: a program that is not normalised cannot simulate its data; write it "
            f"with pyro.sample sites alone."
        )
    if not sites:
        raise ValueError(
            f"the program observes nothing: its sites {structure.latents} are all latent. Bind the view to data, as "
            f"EnergyView(model).bind(y), that the program passes on as obs=..."
        )
    if structure.shared_latents and structure.subsampling != 1:
        raise ValueError(
            f"the plate {structure.data_plate!r} is subsampled, and the latents {structure.shared_latents} lie outside "
            f"it: their posterior needs all the data; bind the program without subsampling."
        )


def _refuse_scales(nodes: Mapping[str, Any], structure: Structure) -> None:
    scores = {name: nodes[name] for name in (*structure.latents, *data_sites(structure))}
    factors = {name: torch.as_tensor(scale_without_data_plate(node, structure)) for name, node in scores.items()}
    scaled = [name for name, factor in factors.items() if (factor != 1).any()]
    if scaled:
        raise ValueError(
            f"the sites {scaled} are scaled, by poutine.scale or by a subsampled plate inside the data: the program "
            f"does not simulate what it scores; take the scale off, and bind it without subsampling."
        )


def _check_size(name: str, value: Tensor, own: Tensor) -> None:
    if value.numel() != own.numel():
        raise ValueError(
            f"the site {name!r} simulates values of shape {tuple(value.shape)}, and its data have {tuple(own.shape)}; "
            f"put it into a plate of the data's size."
        )


def _seen(node: Mapping[str, Any]) -> Tensor:
    """Which elements of a site's value no mask leaves out."""
    value = node["value"]
    mask = torch.as_tensor(True if node["mask"] is None else node["mask"], device=value.device)
    return mask.reshape(mask.shape + (1,) * node["fn"].event_dim).expand(value.shape)


def _check_observed(name: str, observed: Tensor, simulated: Simulated) -> None:
    seen = simulated.seen[name].flatten()
    wanted = simulated.data[name].double().flatten()[seen]
    if observed.numel() != len(seen) or not torch.allclose(observed.double().flatten()[seen], wanted, rtol=1e-4):
        raise ValueError(
            f"the observed site {name!r} does not take its values from an argument as they are: called with simulated "
            f"data in their place, the program observes others. Pass the argument on unchanged, obs={name}."
        )
