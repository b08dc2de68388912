r"""The energy view of a Pyro program:  E(x, z) = -log p(x, z), per datum, per site, for many draws at once."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import xarray as xr
from torch import Tensor

from .base_measure import Base, check_temperature
from .free_energy import FreeEnergy
from .given_draws import for_each_given
from .importance import variational_free_energy
from .ladder import ladder
from .methods import free_energy
from .minimum import Minimum, zero_temperature
from .problem import Problem
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
        return {
            "taken": sorted({way for key, way in self.program.chosen.items() if len(key) > 1}),
            "refused": dict(self.program.refused),
        }

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
        **options: Any,
    ) -> FreeEnergy:
        r"""F_beta(x) = -(1/beta) log of the integral of exp(-beta E(x, z)) over z, in nats.

        Args:
            beta: inverse temperature; at 1, F is -log p(x).
            method: one of those below, or ``"auto"``: the first of ``enumerate``, ``quadrature`` (up to two
                dimensions), ``importance`` (where a guide's draws are reliable) and ``annealing`` that applies. The
                result reports the one taken.
            base: the measure of the integral: ``"lebesgue"`` (counting for discrete sites), ``"prior"`` (only
                observed sites are tempered) or ``"uniform"`` (normalised over a bounded support).
            guide: q(z | x), a Pyro program that takes the arguments that the view is bound to.
            given: latents held fixed at these values; what is left is integrated. Dimensions in front of the sites'
                own are draws, for each of which F is computed: they come first in the result.
            options: those of the method.

        ============= ======================================================= ======================================
        method        for                                                     options
        ============= ======================================================= ======================================
        enumerate     every latent discrete: exact
        quadrature    one to three continuous dimensions, by datum or in all
        importance    draws from a guide, Pareto-smoothed                     draws
        annealing     any dimensions, from the prior and from a guide         chains, temperatures, resample, compile
        laplace       a Gaussian at every mode: quick, of unknown error
        bidirectional bounds from both sides at beta = 1, on data that are    chains, temperatures, compile
                      simulated from the model in place of those bound
        ============= ======================================================= ======================================

        Discrete latents beside continuous ones are summed out exactly, tempered, inside every method.

        Raises:
            ValueError: where the method does not apply, naming the sites and the remedy.
        """

        def measure(one: Mapping[str, Tensor]) -> FreeEnergy:
            return free_energy(self._problem(beta, base, one), method, guide, options)

        return for_each_given(self.structure, given or {}, measure)

    def zero_temperature(
        self,
        starts: int = 16,
        given: Mapping[str, Tensor] | None = None,
        guide: Callable | None = None,
        points: Mapping[str, Tensor] | None = None,
    ) -> Minimum:
        r"""F_inf(x) = min over z of E(x, z), with its minimisers, for all data at once.

        Args:
            starts: how many draws of the prior to start from, and of the guide if there is one.
            given: latents held fixed.
            guide: q(z | x).
            points: more points to start from: every free continuous latent, (S, *site.shape).

        Raises:
            ValueError: if the energy is finite at no start of some datum.
        """
        problem = self._problem(1.0, "lebesgue", given)
        return zero_temperature(problem, starts, guide, points)

    def ladder(
        self,
        betas: Sequence[float],
        guide: Callable | None = None,
        base: Base = "lebesgue",
        given: Mapping[str, Tensor] | None = None,
        method: str = "auto",
        chains: int | None = None,
    ) -> xr.Dataset:
        r"""F, U, H and c of p_beta(z | x) over inverse temperatures, beside F_inf.

        .. math:: F = U - H / \beta, \qquad U = d(\beta F) / d\beta, \qquad c = \beta^2 \operatorname{Var} E

        Args:
            betas: inverse temperatures, positive and finite.
            guide: q(z | x), one of two places that annealed chains start from, and where minima are looked for.
            base: the base measure. With ``"prior"`` the energy is that of the data, and H = -KL(p_beta, prior).
            given: latents held fixed.
            method: ``"enumerate"``, ``"quadrature"`` or ``"annealing"``; ``"auto"`` takes the first that applies.
            chains: how many chains are annealed, by default 64; one run gives all rungs. With fewer, the error of the
                heat capacity is withheld.

        Returns:
            A Dataset over ``beta``, and ``data`` where data are independent: ``free_energy``, ``mean_energy``,
            ``entropy`` and ``heat_capacity`` with their errors (``_error``), in total and ``_per_datum``, in nats (c
            has no unit); ``zero_temperature``, F_inf = min E, to which F goes by every base but the prior (by that one
            F goes to the lowest energy of the data alone). Attributes say ``bound``, ``method`` and ``base``.

        Example:
            >>> import pyro, torch, pyro.distributions as dist
            >>> def model(y):
            ...     with pyro.plate("data", len(y)):
            ...         z = pyro.sample("z", dist.Normal(0.0, 2.0))
            ...         pyro.sample("y", dist.Normal(z, 0.5), obs=y)
            >>> table = EnergyView(model).bind(torch.tensor([0.3, -0.1])).ladder([0.5, 1.0, 2.0])
            >>> table.heat_capacity.round(3).values  # one half for each of the two Gaussian latents
            array([1., 1., 1.])
        """
        return ladder(self._problem(1.0, base, given), betas, guide, method, chains)

    def _problem(self, beta: float, base: Base, given: Mapping[str, Tensor] | None) -> Problem:
        check_temperature(beta, base)
        if self.structure.check_given(given or {}):
            raise ValueError(
                "given has leading dimensions, which free_energy takes; here, pass one value of each latent."
            )
        return Problem(self.program, beta, base, dict(given or {}))

    def variational_free_energy(
        self, guide: Callable, beta: float = 1.0, base: Base = "lebesgue", draws: int = 1000
    ) -> FreeEnergy:
        r"""F_beta[q] = E_q[E] - H(q) / beta >= F_beta, estimated with draws from the guide; at beta = 1 minus the ELBO.

        The gap F_beta[q] - F_beta is KL(q, p_beta) / beta.
        """
        check_temperature(beta, base)
        return variational_free_energy(self.program, guide, beta, base, draws)
