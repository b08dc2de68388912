r"""A bound program as log densities on R^D, one for each group of latents that the data leave independent."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor
from torch.distributions import biject_to

from .base_measure import Base
from .coordinates import Coordinates
from .densities import measures_and_energies
from .enumeration import check_enumeration, enumerated_trace, log_partition
from .scoring import Term, global_energy, reduced, run, site_terms
from .structure import sample_sites
from .temperature_derivatives import value_slope_curvature
from .vectorize import Program, Scoring, beside_plates

__all__ = ["Landscape", "landscape"]


@dataclass(frozen=True)
class Landscape(Coordinates):
    r"""log f_beta(u) of the free latents of a program, in unconstrained coordinates u of shape (S, G, D).

    .. math:: \log f_\beta(u) = \log m(u) - \beta E(u), \qquad F_\beta = -\tfrac1\beta \log \int f_\beta(u) \, du

    G is the number of data N where every free latent lies inside the data plate, and the data are then independent;
    else 1, all latents being one group. D counts the coordinates of a group. Free discrete latents are summed out,
    tempered, for every u.

    Attributes:
        program: the program and its arguments.
        given: latents held fixed.
        discrete: names of the free discrete latents.
        dtype: of the coordinates.
    """

    program: Program
    given: dict[str, Tensor]
    discrete: list[str]
    dtype: torch.dtype

    def measure_and_energy(self, u: Tensor, base: Base) -> tuple[Tensor, Tensor]:
        """log m(u) and E(u), (S, G) each, where no latent is discrete; differentiable in u."""
        return self._measures_and_energies(u, (base,))[0]

    def log_densities(self, u: Tensor, at: Sequence[tuple[float, Base]]) -> list[Tensor]:
        """log f_beta(u) by base, (S, G), for several temperatures and measures from one run of the program.

        At (0.0, "prior") it is the log prior. Differentiable in u.
        """
        if not self.discrete:
            parts = self._measures_and_energies(u, tuple(base for _, base in at))
            pairs = zip(parts, at, strict=True)
            return [measure - beta * energy if beta else measure for (measure, energy), (beta, _) in pairs]
        scoring = Scoring(f"sums {at}", partial(self._summed, tuple(at), False), None)
        terms = self.program.many(self.split(u), scoring)
        return [self.by_group(terms[str(index)].energy) for index in range(len(at))]

    def log_density(self, u: Tensor, beta: float, base: Base) -> Tensor:
        """log f_beta(u), (S, G); at ``beta=0`` with ``base="prior"`` the log prior. Differentiable in u."""
        return self.log_densities(u, [(beta, base)])[0]

    def moments(self, u: Tensor, beta: float, base: Base) -> tuple[Tensor, Tensor, Tensor]:
        """log f_beta(u), and the mean and variance of the energy over the discrete latents at u; (S, G) each."""
        if not self.discrete:
            measure, energy = self.measure_and_energy(u, base)
            return measure - beta * energy, energy, torch.zeros_like(energy)
        scoring = Scoring(f"moments {base} {beta}", partial(self._moments, beta, base), None)
        terms = self.program.many(self.split(u), scoring)
        log_density, slope, bend = (self.by_group(terms[name].energy) for name in ("value", "slope", "bend"))
        return log_density, -slope, bend

    def log_jacobian(self, u: Tensor) -> Tensor:
        """log |dz/du| of the free continuous latents, (S, G)."""
        scoring = Scoring("jacobian", partial(self._jacobian, self._any_choice()), None)
        return self.by_group(self.program.many(self.split(u), scoring)["jacobian"].energy)

    def lowest_energy(self, u: Tensor) -> Tensor:
        """E(u), (S, G), minimised over the free discrete latents; differentiable in u."""
        if not self.discrete:
            return self.measure_and_energy(u, "lebesgue")[1]
        scoring = Scoring("lowest", partial(self._summed, ((1.0, "lebesgue"),), True), None)
        return -self.by_group(self.program.many(self.split(u), scoring)["0"].energy)

    def coordinates(self, values: Mapping[str, Tensor]) -> Tensor:
        """The coordinates (S, G, D) of S draws of the free continuous latents, (S, *site.shape).

        Raises:
            ValueError: naming the site, if a value has another shape.
        """
        for site in self._sites():
            found = tuple(values[site.name].shape)
            if found[1:] != tuple(site.shape):
                raise ValueError(
                    f"the values of {site.name!r} have the shape {found}; expected are draws in front of the site's "
                    f"own shape, {tuple(site.shape)}: a guide for another model, or for other data, gives others."
                )
        flat = {name: values[name].to(self.dtype) for name in self.continuous}
        return self.join(self._traced(flat, "coordinates"))

    def latents(self, u: Tensor) -> dict[str, Tensor]:
        """The values (S, *site.shape) of the continuous latents at coordinates u."""
        return self._traced(self.split(u), "latents")

    @torch.no_grad()
    def prior_draws(self, draws: int) -> Tensor:
        """Independent draws of the free continuous latents from their prior, as coordinates (S, G, D)."""
        rows = []
        for _ in range(draws):
            trace = run(self.program.callable, self.structure, self.program.call, self.given)
            nodes = sample_sites(trace)
            rows.append({name: _inverse(nodes[name]).to(self.dtype) for name in self.continuous})
        return self.join({name: torch.stack([row[name] for row in rows]) for name in self.continuous})

    @torch.no_grad()
    def common_energy(self, beta: float, base: Base) -> Tensor:
        """What the sites outside the data plate add to F_beta, (), where there is a group for each datum."""
        if not self.by_datum:
            return torch.zeros((), dtype=torch.float64)
        return self._common_energy(self.prior_draws(1)[0], beta, base)

    @torch.no_grad()
    def data_are_independent(self) -> bool:
        """Whether a change of some data's latents leaves the densities of the others, and of no datum, as they were."""
        one, other = self.prior_draws(2)
        common = torch.stack([self._common_energy(u, 1.0, "lebesgue") for u in (one, other)])
        if not _same(common[:1], common[1:]):
            return False
        # Any two data are told apart by a binary digit of their numbers.
        for digit in range((self.groups - 1).bit_length()):
            odd = (torch.arange(self.groups) >> digit) % 2 == 1
            u = torch.stack([one, torch.where(odd[:, None], one, other), other])
            densities = self.log_density(u, 1.0, "lebesgue")
            if not (_same(densities[0, odd], densities[1, odd]) and _same(densities[2, ~odd], densities[1, ~odd])):
                return False
        return True

    @torch.no_grad()
    def check_sums(self) -> None:
        """Raises NotEnumerable where the program runs otherwise on all values of its discrete latents than on each."""
        if self.discrete:
            u = self._row(self.prior_draws(1)[0])
            check_enumeration(enumerated_trace(self.program, self.given, u), self.program, self.given, u)

    def _common_energy(self, u: Tensor, beta: float, base: Base) -> Tensor:
        if self.discrete:
            trace = enumerated_trace(self.program, self.given, self._row(u))
            return -log_partition(trace, self.structure, beta, base).common / beta
        trace = run(self.program.callable, self.structure, self.program.call, self.given, self._row(u))
        return global_energy(site_terms(trace, self.structure), torch.Size()).double()

    def _row(self, u: Tensor) -> dict[str, Tensor]:
        return {name: value[0] for name, value in self.split(u.unsqueeze(0)).items()}

    def _measures_and_energies(self, u: Tensor, bases: tuple[Base, ...]) -> list[tuple[Tensor, Tensor]]:
        plated = partial(self._densities_plated, bases)
        terms = self.program.many(self.split(u), Scoring(f"densities {bases}", partial(self._densities, bases), plated))
        by_group = {name: self.by_group(term.energy) for name, term in terms.items()}
        return [(by_group[f"measure {base}"], by_group[f"energy {base}"]) for base in bases]

    def _densities(self, bases: tuple[Base, ...], u: Mapping[str, Tensor]) -> dict[str, Term]:
        trace = run(self.program.callable, self.structure, self.program.call, self.given, u)
        return measures_and_energies(trace, self.structure, bases, self.by_datum)

    def _densities_plated(self, bases: tuple[Base, ...], u: Mapping[str, Tensor], draws: int) -> dict[str, Term]:
        beside = beside_plates(self.structure, u)
        trace = run(self.program.callable, self.structure, self.program.call, self.given, beside, draws)
        return measures_and_energies(trace, self.structure, bases, self.by_datum, draws)

    def _summed(self, at: tuple[tuple[float, Base], ...], maximum: bool, u: Mapping[str, Tensor]) -> dict[str, Term]:
        trace = enumerated_trace(self.program, self.given, u)
        sums = [self._whole(*log_partition(trace, self.structure, beta, base, maximum)) for beta, base in at]
        return {str(index): Term(value, self.by_datum, None) for index, value in enumerate(sums)}

    def _moments(self, beta: float, base: Base, u: Mapping[str, Tensor]) -> dict[str, Term]:
        """log f_beta and its first and second derivatives in beta: minus the mean and the variance of the energy."""
        trace = enumerated_trace(self.program, self.given, u)

        def log_density(at: Tensor) -> tuple[Tensor]:
            by_datum, common = log_partition(trace, self.structure, at, base)
            return (self._whole(by_datum, common),)

        at = torch.tensor(beta, dtype=torch.float64)
        (value,), (slope,), (bend,) = value_slope_curvature(log_density, at)
        return {n: Term(v, self.by_datum, None) for n, v in {"value": value, "slope": slope, "bend": bend}.items()}

    def _whole(self, by_datum: Tensor | None, common: Tensor) -> Tensor:
        """By datum where the data are independent, else the total."""
        if self.by_datum:
            assert by_datum is not None
            return by_datum
        return common if by_datum is None else common + by_datum.sum()

    def _any_choice(self) -> dict[str, Tensor]:
        """What is given, and values of the discrete latents: where they are not summed, they play no part.

        Were they drawn, torch.vmap would refuse to run many draws at once.
        """
        if not self.discrete:
            return self.given
        with torch.no_grad():
            nodes = sample_sites(run(self.program.callable, self.structure, self.program.call, self.given))
        return self.given | {name: nodes[name]["value"] for name in self.discrete}

    def _jacobian(self, held: Mapping[str, Tensor], u: Mapping[str, Tensor]) -> dict[str, Term]:
        trace = run(self.program.callable, self.structure, self.program.call, held, u)
        nodes = sample_sites(trace)
        shape = torch.Size([self.groups] if self.by_datum else [])
        total = torch.zeros(shape, dtype=self.dtype)
        for name in self.continuous:
            values = nodes[name]["infer"]["_log_jacobian"]
            if values is not None:
                total = total + reduced(values, nodes[name], self.structure, 0, self.by_datum)
        return {"jacobian": Term(total, self.by_datum, None)}

    def _traced(self, flat: Mapping[str, Tensor], what: str) -> dict[str, Tensor]:
        held = self._any_choice()

        def one(values: Mapping[str, Tensor]) -> dict[str, Term]:
            program, structure = self.program.callable, self.structure
            by_value = what == "coordinates"
            latents = {**held, **values} if by_value else held
            trace = run(program, structure, self.program.call, latents, None if by_value else values)
            nodes = sample_sites(trace)
            found = {name: _inverse(nodes[name]) if by_value else nodes[name]["value"] for name in self.continuous}
            return {name: Term(value, False, None) for name, value in found.items()}

        return {name: term.energy for name, term in self.program.many(flat, Scoring(what, one, None)).items()}


def landscape(program: Program, given: Mapping[str, Tensor]) -> Landscape:
    """The landscape of the latents that are not given.

    Where a change of some data's latents changes the energy of other data, in spite of the plate, all latents are one
    group.

    Raises:
        ValueError: if no latent is free and continuous, or one has neither coordinates nor a sum.
    """
    structure = program.structure
    free = [structure.sites[name] for name in structure.latents if name not in given]
    continuous = [site.name for site in free if not site.discrete]
    without = [site.name for site in free if not site.discrete and site.coordinates is None]
    if without:
        raise ValueError(
            f"the latents {without} are neither enumerable nor have unconstrained coordinates: torch has no bijection "
            f"from R^D onto their support; hold them fixed with `given`."
        )
    computed = [name for name in continuous if structure.sites[name].computed]
    if computed:
        raise ValueError(
            f"the latents {computed} are Deltas, which have no density to integrate: state what the program computes "
            f"with pyro.deterministic, or hold them fixed with `given`."
        )
    if not continuous:
        raise ValueError("no free latent is continuous: use method='enumerate', which is exact.")
    plate = structure.data_plate
    structure.refuse_subsampling([site.name for site in free if plate not in site.plates])
    by_datum = plate is not None and all(plate in site.plate_dims for site in free)
    dtype = _dtype(program, given, continuous)
    discrete = [site.name for site in free if site.discrete]
    made = Landscape(structure, continuous, by_datum, program, dict(given), discrete, dtype)
    made.check_sums()
    if by_datum and not made.data_are_independent():
        made = replace(made, by_datum=False)
    if not made.by_datum and structure.subsampling != 1:
        raise ValueError(
            f"the plate {plate!r} is subsampled, and the data are not independent given what is fixed: their free "
            f"energy needs all of them; bind the program without subsampling."
        )
    return made


def _same(first: Tensor, second: Tensor) -> bool:
    tolerance = 1e4 * torch.finfo(first.dtype).eps
    return torch.allclose(first, second, rtol=tolerance, atol=tolerance, equal_nan=True)


def _dtype(program: Program, given: Mapping[str, Tensor], continuous: list[str]) -> torch.dtype:
    with torch.no_grad():
        nodes = sample_sites(run(program.callable, program.structure, program.call, given))
    return torch.promote_types(nodes[continuous[0]]["value"].dtype, torch.get_default_dtype())


def _inverse(node: Mapping) -> Tensor:
    return biject_to(node["fn"].support).inv(node["value"])
