r"""Simulation-based calibration of a guide:  z~, x~ ~ p(z, x),  z_1 ... z_L ~ q(z | x~),  u = rank of z~ among z_l."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import xarray as xr

from ...energy.view import BoundView
from ...svi.random_state import preserved_random_state
from ..rank_bands import RankBand, departure, ecdf, p_value, rank_band
from ..uniformity import coverage
from .forked_repeats import repeated
from .ranked_quantities import Quantities
from .trials import TARP, Refit, Trials
from .verdict import describe_failure, describe_pass

__all__ = ["Calibration", "calibrate"]

LEVEL = 0.95
FEWEST_RANKS = 50
INTERVALS = [0.5, 0.8, 0.9, 0.95]


@dataclass(frozen=True)
class Calibration:
    """Where the truth ranks among a guide's draws, over simulated data; printing it gives the verdict.

    Attributes:
        table: a Dataset over ``quantity``: ``pit``, u of every rank (over ``rank``), which is uniform where the guide
            is the posterior; ``mean``, 1/2 if right; ``coverage`` of central intervals (over ``interval``, their
            probability, which is the coverage if right); ``departure``, see ``rank_bands.departure``: smaller is
            worse. Attributes say ``repeats``, ``draws``, and how many ``posteriors`` each repeat has.
        level: the probability with which a guide that is the posterior passes, at least.
        passed: no quantity's ECDF leaves the band.
        worst: the quantity that departs most.
        p_value: the probability that some quantity of the posterior itself departs as much, at most: that of the worst
            times the number of quantities.
        verdict: in plain words.
    """

    table: xr.Dataset
    level: float
    passed: bool
    worst: str
    p_value: float
    verdict: str

    def __str__(self) -> str:
        return self.verdict

    @property
    def band(self) -> RankBand:
        """What the ECDF of every quantity must stay inside, so that all do with probability ``level``."""
        return _band(self.table, self.level)

    def at_level(self, level: float) -> "Calibration":
        """The same ranks, judged at another level between 0 and 1."""
        return _judged(self.table, level)


def calibrate(
    view: BoundView,
    guide: Callable | Refit,
    repeats: int = 500,
    draws: int = 99,
    processes: int = 1,
    seed: int = 0,
) -> Calibration:
    r"""Whether a guide is the posterior, on data that the model simulates, where the truth is known.

    Every repeat draws latents and data from the model, gives the data to the guide, and ranks the latents among L draws
    of it. Were the guide the posterior, truth and draws would be exchangeable, and every rank equally likely:

    .. math:: u = \frac{\#\{l: f(z_l) < f(\tilde z)\} + U}{L + 1} \sim U(0, 1)

    for any f of latents and data. Ranked are every element of the latents (pooled over the data where they share none,
    else of one datum drawn at random), log p(x, z) and log p(x | z) (of each datum, or of the total), and the distance
    from a point that depends on the data (TARP). The ECDF of each u must stay inside a band, that holds all of them
    together with probability ``level`` = 0.95, by Bonferroni; see ``Calibration.at_level``.

    Args:
        view: a bound view of the model. Of its data only the shapes matter; they must come from its arguments, since
            simulated data take their place: see ``DataArguments``.
        guide: q(z | x), a Pyro program that takes the arguments that the view is bound to, for any data; or, where a
            guide is fitted to one data set, as Pyro's AutoGuides are, ``Refit(fit)``, which fits one to each.
        repeats: how many data sets are simulated. There must be 50 ranks of each quantity at least.
        draws: L, how many draws the truth is ranked among.
        processes: how many repeats are done at a time, each in a forked process with one thread. The result is the
            same for any number.
        seed: of all random numbers, those of a ``Refit`` included; the caller's random state is left as it was.

    Raises:
        ValueError: if there are too few repeats, draws or processes, no latents, the data of a site are no argument,
            the program cannot simulate what it scores, or the guide does not sample every latent.
        RuntimeError: if a repeat fails in another process, or that process dies.

    Warning:
        It judges the guide on data such as the model's own, on average over them. A guide that is right for these
        can be wrong for data that the model would hardly draw. With repeats too few, small faults pass; the verdict
        says how small.

    Reference: S. Talts, M. Betancourt, D. Simpson, A. Vehtari, A. Gelman (2018), Validating Bayesian inference
    algorithms with simulation-based calibration, algorithm 1. https://arxiv.org/abs/1804.06788; for the log densities
    ``Quantities``, for the band ``rank_band``, for the distance ``References``.

    Example:
        >>> import pyro, torch, pyro.distributions as dist
        >>> from pyrometer import EnergyView
        >>> def model(y):
        ...     with pyro.plate("data", len(y)):
        ...         z = pyro.sample("z", dist.Normal(0.0, 2.0))
        ...         pyro.sample("y", dist.Normal(z, 0.5), obs=y)
        >>> def guide(y, narrow=0.6):
        ...     with pyro.plate("data", len(y)):
        ...         pyro.sample("z", dist.Normal(y * 4 / 4.25, narrow * 4.25**-0.5))
        >>> view = EnergyView(model).bind(torch.zeros(5))
        >>> print(calibrate(view, guide, repeats=40))
        Do not take the guide for the posterior: it is too narrow, ... in 6... % of 200 cases, not 50 % (log ...
    """
    for name, value in (("draws", draws), ("processes", processes), ("repeats", repeats)):
        if value < 1:
            raise ValueError(f"{name} must be at least 1, got {value}.")
    if not view.structure.latents:
        raise ValueError("the program has no latents, so that there is no posterior for a guide to be.")
    posteriors = Quantities(view.structure).posteriors
    if repeats * posteriors < FEWEST_RANKS:
        raise ValueError(
            f"repeats must be at least {-(-FEWEST_RANKS // posteriors)}, got {repeats}: each gives {posteriors} "
            f"independent ranks, and fewer than {FEWEST_RANKS} cannot tell a good guide from a bad one."
        )
    trials = Trials(view, guide, draws, seed)
    with preserved_random_state():
        found = repeated(trials, repeats, processes)
    pit = xr.Dataset({"pit": (("quantity", "rank"), np.concatenate(found, 1))}, {"quantity": trials.names})
    return _judged(_summarised(pit.assign_attrs(repeats=repeats, draws=draws, posteriors=posteriors)), LEVEL)


def _summarised(table: xr.Dataset) -> xr.Dataset:
    pit = table.pit.values
    held = np.stack([coverage(pit, interval) for interval in INTERVALS], -1)
    return table.assign(
        mean=("quantity", pit.mean(-1)),
        coverage=(("quantity", "interval"), held),
        departure=("quantity", departure(pit)),
    ).assign_coords(interval=INTERVALS)


def _band(table: xr.Dataset, level: float) -> RankBand:
    return rank_band(table.sizes["rank"], 1 - (1 - level) / table.sizes["quantity"])


def _judged(table: xr.Dataset, level: float) -> Calibration:
    if not 0 < level < 1:
        raise ValueError(f"level must be between 0 and 1, got {level}; 0.95 is usual.")
    count = table.sizes["quantity"]
    worst = table.isel(quantity=int(np.argmin(table.departure.values)))
    name = str(worst.quantity.item())
    p = min(1.0, count * p_value(table.sizes["rank"], worst.departure.item()))
    passed = p > 1 - level
    made = Calibration(table, level, passed, name, p, "")
    return replace(made, verdict=_verdict(made))


def _verdict(judged: Calibration) -> str:
    table, attributes = judged.table, judged.table.attrs
    count, band = table.sizes["quantity"], judged.band
    if judged.passed:
        each = f" of {attributes['posteriors']} data" if attributes["posteriors"] > 1 else ""
        return (
            f"The guide passes for the posterior: over {attributes['repeats']} simulated data sets{each}, the ranks of "
            f"all {count} quantities stay inside their {100 * judged.level:g} % band; "
            f"{describe_pass(judged.worst, judged.p_value, band, TARP in table.quantity)}."
        )
    counted = ecdf(table.pit.values)
    outside = ((counted < band.lower) | (counted > band.upper)).any(-1).sum()
    failure = describe_failure(judged.worst, table.pit.sel(quantity=judged.worst).values, judged.p_value)
    return (
        f"Do not take the guide for the posterior: {failure}; {outside} of {count} quantities leave their "
        f"{100 * judged.level:g} % band."
    )
