"""One repeat of a calibration: simulate, draw from the guide, rank the truth."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
import pyro
import torch
from torch import Tensor

from ...energy.guide_draws import Guide
from ...energy.log_weights import ELEMENTS_AT_ONCE
from ...energy.simulated_data import Simulated, Simulator
from ...energy.structure import Structure
from ...energy.vectorize import Program, Vectorization
from ...energy.view import BoundView
from ...svi.random_state import noise_state, preserved_random_state, set_random_state
from .ranked_quantities import Quantities, randomised_pit
from .tarp import References, distances

__all__ = ["TARP", "Refit", "Trials"]

TARP = "TARP"
"""The quantity that is a draw's distance from a reference point."""
PAIRS = 100
"""How many simulations the reference points are taken from."""
SIMULATION, DRAWS, REFERENCES = range(3)
"""Streams of random numbers: of a repeat, of what follows the fit in it, and of the reference points."""


@dataclass(frozen=True)
class Refit:
    """Inference that is done anew for every simulated data set, in the place of a guide that takes any data.

    Attributes:
        fit: called with the arguments of the view, simulated data in the place of its own, gives the fitted guide: a
            Pyro program that is called with the same arguments. Parameters that it puts into Pyro's store are taken
            out after the repeat.

    Example:
        >>> import pyro, torch, pyro.distributions as dist
        >>> def fit(y):
        ...     mean, scale = y.mean(), y.std() / len(y) ** 0.5
        ...     return lambda y: pyro.sample("mu", dist.Normal(mean, scale))
        >>> refit = Refit(fit)  # calibrate(view, refit)
    """

    fit: Callable[..., Callable]


class Trials:
    """Independent simulations of a program, in each of which the truth is ranked among a guide's draws.

    Called with the number of a repeat it gives u of every quantity for every posterior, (Q, C), from random numbers
    that depend on the seed and this number alone.

    Args:
        view: a program with data that give their shapes alone.
        guide: q(z | x), or a way to fit one.
        draws: how many draws L the truth is ranked among.
        seed: of all random numbers.

    Raises:
        ValueError: if the data cannot be simulated, or the guide does not sample every latent in its shape.
    """

    def __init__(self, view: BoundView, guide: Callable | Refit, draws: int, seed: int) -> None:
        self.guide, self.draws, self.seed = guide, draws, seed
        self.simulator, self.quantities = Simulator(view.program), Quantities(view.structure)
        self.chosen: dict[tuple, Vectorization] = {}
        with preserved_random_state():
            self._begin(0, REFERENCES)
            pairs = [self.simulator.draw() for _ in range(PAIRS)]
            self._rehearse(pairs)
        self.pairs = {name: torch.stack([pair.latents[name] for pair in pairs]) for name in view.structure.latents}
        self.references = References.of(torch.cat([self._data(pair) for pair in pairs]))

    @property
    def names(self) -> list[str]:
        """The Q quantities."""
        return [*self.quantities.names, *([TARP] if self.quantities.continuous else [])]

    @torch.no_grad()
    def __call__(self, repeat: int) -> np.ndarray:
        """u, (Q, C), of one repeat; leaves the random state elsewhere."""
        self._begin(repeat, SIMULATION)
        simulated = self.simulator.draw()
        program = self.simulator.bind(simulated)
        with self._guide_for(program, repeat) as guide:
            datum = int(torch.randint(max(1, program.structure.size), ()))
            drawn = self._drawn(self._bound(guide, program))
        latents = {name: torch.cat([truth.unsqueeze(0), drawn[name]]) for name, truth in simulated.latents.items()}
        values = self.quantities.values(program, latents, datum)
        if self.quantities.continuous:
            values = torch.cat([values, self._distances(simulated, latents, datum)], -1)
        self._refuse_nan(values, repeat)
        return randomised_pit(values).T.numpy()

    def _begin(self, repeat: int, stream: int) -> None:
        set_random_state(noise_state(self.seed, repeat, stream))

    def _rehearse(self, pairs: list[Simulated]) -> None:
        """Meets bad input before the work, and decides once how draws are vectorised: no process decides otherwise."""
        program = self.simulator.bind(pairs[0])
        two = {name: torch.stack([pair.latents[name] for pair in pairs[:2]]) for name in program.structure.latents}
        self.quantities.values(program, two, 0)
        if not isinstance(self.guide, Refit):
            self._bound(self.guide, program).draw(2)

    @contextmanager
    def _guide_for(self, program: Program, repeat: int) -> Iterator[Callable]:
        if not isinstance(self.guide, Refit):
            yield self.guide
            return
        store = pyro.get_param_store()
        with store.scope(store.get_state()):
            with torch.enable_grad():
                fitted = self.guide.fit(*program.args, **program.kwargs)
            self._begin(repeat, DRAWS)  # the fit may have seeded, and would make all repeats alike
            yield fitted

    def _bound(self, guide: Callable, program: Program) -> Guide:
        if not callable(guide):
            raise TypeError(f"fit must give a Pyro program (a callable), got {type(guide).__name__}.")
        # A guide that is fitted anew in each repeat is another one in each.
        chosen = {} if isinstance(self.guide, Refit) else self.chosen
        bound = Guide(guide, program.structure.data_plate, program.args, program.kwargs, {}, chosen)
        _check_sites(bound.structure, program.structure)
        bound.structure = replace(bound.structure, subsamples=program.structure.subsamples)
        return bound

    def _drawn(self, guide: Guide) -> dict[str, Tensor]:
        size = max(1, ELEMENTS_AT_ONCE // max(1, guide.structure.size))
        parts = [guide.draw(min(size, self.draws - start)).latents for start in range(0, self.draws, size)]
        return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}

    def _distances(self, simulated: Simulated, latents: dict[str, Tensor], datum: int) -> Tensor:
        nearest = self.references.nearest(self._data(simulated)[0])
        sites = self.quantities.continuous
        ours, pairs = (self.quantities.elements(values, sites, datum) for values in (latents, self.pairs))
        return distances(ours, pairs, nearest).unsqueeze(-1)

    def _data(self, simulated: Simulated) -> Tensor:
        seen = {name: torch.where(simulated.seen[name], value, 0) for name, value in simulated.data.items()}
        values = {name: value.unsqueeze(0) for name, value in seen.items()}
        return self.quantities.elements(values, list(values), None)

    def _refuse_nan(self, values: Tensor, repeat: int) -> None:
        wrong = values.isnan().flatten(0, 1).any(0)
        if wrong.any():
            names = [name for name, is_wrong in zip(self.names, wrong.tolist(), strict=True) if is_wrong]
            raise ValueError(f"{names} are nan in repeat {repeat}: neither the truth nor a draw may be undefined.")


def _check_sites(guide: Structure, model: Structure) -> None:
    missing = [name for name in model.latents if name not in guide.sites]
    if missing:
        raise ValueError(
            f"the guide does not sample {missing}; its sites are {list(guide.sites)}. A rank needs draws of every "
            f"latent: sample it in the guide."
        )
    for name in model.latents:
        ours, theirs = tuple(model.sites[name].shape), tuple(guide.sites[name].shape)
        if ours != theirs:
            raise ValueError(
                f"the guide samples {name!r} in the shape {theirs}, and the program in {ours}; use the same plates and "
                f".to_event in both."
            )
