"""Latents and data simulated from a program, and the program bound to them:  z~, x~ ~ p(z, x)."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from pyro.poutine.messenger import Messenger
from torch import Tensor

from .checks_by_value import checks_by_value
from .data_arguments import DataArguments
from .enumerated_trace import NOTHING
from .scoring import run, scaled_sites
from .structure import Structure, probe, sample_sites
from .substitute import DrawData
from .vectorize import Program

__all__ = ["Simulated", "Simulator", "seen_elements"]


class Simulated(NamedTuple):
    """Latents drawn from a program, and data drawn at them, by site; ``seen`` is false where a mask leaves data out."""

    latents: dict[str, Tensor]
    data: dict[str, Tensor]
    seen: dict[str, Tensor]


class Simulator:
    """Draws latents and data from a program, and binds it to such data.

    The data reach the program, and a guide with the same arguments, in the place of its own among these: see
    ``DataArguments``. Whether the program then observes what was simulated is checked. What a mask leaves out is no
    data: there the arguments stay as they are.

    Args:
        program: a program as called, whose data give their shapes alone.
        for_guide: a guide is to see the data, so that they must be arguments; else the program observes the simulated
            ones wherever its own come from.

    Raises:
        ValueError: if there are no data, they are not found among the arguments, or the program cannot simulate what
            it scores: it has factors, or a ``poutine.scale``, or a subsample of data that share a latent.
    """

    def __init__(self, program: Program, for_guide: bool = True) -> None:
        self.program, self.sites = program, [site.name for site in program.structure.data]
        _check(program.structure)
        self.arguments = DataArguments(program, self.sites) if for_guide else None

    @torch.no_grad()
    def draw(self, given: Mapping[str, Tensor] = NOTHING) -> Simulated:
        """One simulation, from the random state as it is, at the latents that are given."""
        structure = self.program.structure
        nodes = sample_sites(run(DrawData()(self.program.callable), structure, self.program.call, given))
        _refuse_scales(nodes, structure)
        for name in self.sites:
            _check_size(name, nodes[name]["value"], structure.observed[name])
        latents, data = ({name: nodes[name]["value"] for name in names} for names in (structure.latents, self.sites))
        return Simulated(latents, data, {name: seen_elements(nodes[name]) for name in self.sites})

    def bind(self, simulated: Simulated) -> Program:
        """The program called with these data."""
        model, (args, kwargs), structure = self.program.callable, self.program.call, self.program.structure
        if self.arguments is None:
            model = _Observe(simulated.data)(model)
        else:
            args, kwargs = self.arguments.with_data(simulated.data, simulated.seen)
        # The probe chooses other indices of a subsampled plate than those that the data were simulated with.
        found = replace(probe(model, structure.data_plate, args, kwargs), subsamples=structure.subsamples)
        for name in self.sites if checks_by_value() else []:
            _check_observed(name, found.observed[name], simulated)
        if self.arguments is None:
            return Program(model, args, kwargs, found)
        return Program(model, args, kwargs, found, self.program.chosen, self.program.refused)


class _Observe(Messenger):
    """Observes other values."""

    def __init__(self, values: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.values = values

    def _pyro_sample(self, msg: Any) -> None:
        if msg["name"] in self.values:
            msg["value"], msg["is_observed"] = self.values[msg["name"]], True


def _check(structure: Structure) -> None:
    structure.refuse_without_data()
    if structure.factors:
        raise ValueError(
            f"the sites {structure.factors} are factors: a program that is not normalised cannot simulate its data; "
            f"write it with pyro.sample sites alone."
        )
    if structure.shared_latents and structure.subsampling != 1:
        raise ValueError(
            f"the plate {structure.data_plate!r} is subsampled, and the latents {structure.shared_latents} lie outside "
            f"it: their posterior needs all the data; bind the program without subsampling."
        )


def _refuse_scales(nodes: Mapping[str, Any], structure: Structure) -> None:
    scaled = scaled_sites({name: node for name, node in nodes.items() if not structure.sites[name].computed}, structure)
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


def seen_elements(node: Mapping[str, Any]) -> Tensor:
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
