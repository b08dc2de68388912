r"""The energy view of a Pyro program:  E(x, z) = -log p(x, z), per datum, per site, for many draws at once."""

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor

from .enumeration import enumerated_free_energy
from .free_energy import Base, FreeEnergy, check_temperature
from .importance import importance_free_energy, variational_free_energy
from .scoring import global_energy, local_energy, total_energy
from .structure import Structure, probe
from .vectorize import Program

__all__ = ["BoundView", "EnergyView"]


class EnergyView:
    r"""Energies and free energies of any Pyro program, unchanged.

    .. math:: E(x, z) = -\log p(x, z) = E_\text{global} + \sum_n E_n

    in nats, where E_n collects the sites inside the data plate, by datum. An unnormalised program adds its
    ``pyro.factor`` terms, and the user's own ``poutine.scale`` belongs to the energy.

    Args:
        model: any Pyro callable.
        plate: the name of the data plate. Where the program has none of that name, the outermost plate that holds
            every observed site is taken, or none (see ``BoundView.plate``); None asks for totals only.

    Example:
        >>> import pyro, torch, pyro.distributions as dist
        >>> def model(y):
        ...     mu = pyro.sample("mu", dist.Normal(0.0, 2.0))
        ...     with pyro.plate("data", len(y)):
        ...         pyro.sample("y", dist.Normal(mu, 0.5), obs=y)
        >>> view = EnergyView(model).bind(torch.tensor([0.3, -0.1, 1.2]))
        >>> view.energy({"mu": torch.tensor([0.0, 1.0])})  # two draws
        tensor([5.3695, 5.8945])
        >>> view.energy_per_datum({"mu": torch.tensor([0.0, 1.0])}).shape
        torch.Size([2, 3])
    """

    def __init__(self, model: Callable, plate: str | None = "data") -> None:
        if not callable(model):
            raise TypeError(f"model must be a Pyro program (a callable), got {type(model).__name__}.")
        self.model, self.plate = model, plate
        # How draws are vectorised, by the shapes of latents: decided once, shared by all bound views.
        self._vectorization: dict[tuple, Any] = {}
        self._refused: dict[str, str] = {}

    def bind(self, *args: Any, **kwargs: Any) -> "BoundView":
        """The view of the program called with these arguments; cheap, so bind again for other data."""
        return BoundView(self, args, kwargs)


class BoundView:
    """A program together with the data that it is called with; made by ``EnergyView.bind``."""

    def __init__(self, view: EnergyView, args: tuple, kwargs: dict[str, Any]) -> None:
        structure = probe(view.model, view.plate, args, kwargs)
        self.program = Program(view.model, args, kwargs, structure, view._vectorization, view._refused)

    def __repr__(self) -> str:
        return f"BoundView(plate={self.plate!r}, data={self.structure.size}, latents={self.structure.latents})"

    @property
    def structure(self) -> Structure:
        """The sites and plates of the program, as called."""
        return self.program.structure

    @property
    def plate(self) -> str | None:
        """The data plate that energies per datum refer to, or None."""
        return self.structure.data_plate

    @property
    def vectorization(self) -> dict[str, Any]:
        """How draws were scored so far: the ways taken (vmap, plate, loop), and why faster ones were refused."""
        return {"taken": sorted(set(self.program.chosen.values())), "refused": dict(self.program.refused)}

    def terms(self, latents: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Energies by site: (…, N) inside the data plate, (…) outside it.

        They add up to ``energy_per_datum`` and ``global_energy``. The elements of a sequential data plate are sites
        of their own, (…) each.
        """
        return {name: term.energy for name, term in self.program.terms(latents).items()}

    def energy_per_datum(self, latents: Mapping[str, Tensor]) -> Tensor:
        """E_n, the energies inside the data plate, (…, N), without the plate's subsampling factor.

        Raises:
            ValueError: if the program has no data plate.
        """
        if self.plate is None:
            raise ValueError(
                "the program has no data plate: no plate holds every observed site, or the view was made with "
                "plate=None; name one with EnergyView(model, plate=...)."
            )
        return local_energy(self.program.terms(latents))

    def global_energy(self, latents: Mapping[str, Tensor]) -> Tensor:
        """E_global, the energy of the sites outside the data plate, (…)."""
        return global_energy(self.program.terms(latents), self.program.leading_shape(latents))

    def energy(self, latents: Mapping[str, Tensor]) -> Tensor:
        r"""E(x, z) = E_global + factor * sum over n of E_n, (…), in nats.

        Args:
            latents: a tensor for every latent site, with the site's own shape; dimensions in front of it are draws.
                The result is differentiable in them and in the program's parameters.

        The factor is the data plate's full size over its size, 1 unless it subsamples. A draw with a value outside
        its site's support has energy +inf.

        Raises:
            ValueError: if a latent is missing (it is named; none is sampled or summed silently), unknown, or of a
                shape that does not end in the site's own.
        """
        return total_energy(self.program.terms(latents), self.program.leading_shape(latents), self.structure)

    def free_energy(
        self,
        beta: float = 1.0,
        method: str = "auto",
        base: Base = "lebesgue",
        guide: Callable | None = None,
        given: Mapping[str, Tensor] | None = None,
        draws: int = 1000,
    ) -> FreeEnergy:
        r"""F_beta(x) = -(1/beta) log of the integral of exp(-beta E(x, z)) over z, in nats.

        Args:
            beta: inverse temperature; at 1, F is -log p(x).
            method: ``"enumerate"`` (every latent discrete: exact), ``"importance"`` (draws from ``guide``,
                Pareto-smoothed: an estimate) or ``"auto"``, which takes the first that applies; the result reports
                the one taken.
            base: the measure of the integral: ``"lebesgue"`` (counting for discrete sites), or ``"prior"`` (only
                observed sites are tempered).
            guide: q(z | x), a Pyro program that takes the arguments that the view is bound to.
            given: latents held fixed at these values; what is left is integrated.
            draws: how many draws of the guide ``importance`` takes.

        Raises:
            ValueError: where the method does not apply, naming the sites and the remedy.
        """
        check_temperature(beta, base)
        given = dict(given or {})
        self.structure.check_given(given)
        if method == "auto":
            free = [name for name in self.structure.latents if name not in given]
            discrete = all(self.structure.sites[name].discrete for name in free)
            method = "enumerate" if discrete else "importance"
        if method == "enumerate":
            return enumerated_free_energy(self.program, beta, base, given)
        if method == "importance":
            return importance_free_energy(self.program, guide, beta, base, given, draws)
        raise ValueError(f'method must be "auto", "enumerate" or "importance", got {method!r}.')

    def variational_free_energy(
        self, guide: Callable, beta: float = 1.0, base: Base = "lebesgue", draws: int = 1000
    ) -> FreeEnergy:
        r"""F_beta[q] = E_q[E] - H(q) / beta >= F_beta, estimated with draws from the guide; at beta = 1 minus the ELBO.

        The gap F_beta[q] - F_beta is KL(q, p_beta) / beta.
        """
        check_temperature(beta, base)
        return variational_free_energy(self.program, guide, beta, base, draws)
