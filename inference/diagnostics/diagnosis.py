"""A first diagnosis of a guide: can its draws stand for the posterior, and what does it cost?"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import xarray as xr

from ..energy.elbo_gap import elbo_gap
from ..energy.free_energy import reliable_pareto_k
from ..energy.view import BoundView

__all__ = ["Diagnosis", "diagnose", "judge"]

# By Pinsker's inequality a gap KL(q, p) of this many nats keeps every probability within 0.1 of the posterior's.
NEGLIGIBLE_GAP = 0.02


@dataclass(frozen=True)
class Diagnosis:
    """What is known of a guide; printing it gives the verdict.

    Attributes:
        table: the Dataset of ``elbo_gap``: F_1, -ELBO, gap, ``ess`` and ``pareto_k``, by datum where there are data.
        criterion: what the verdict rests on: ``"Pareto k"``, or ``"gap"`` where every latent is discrete, since the
            gap KL(q, p) is then known up to the error of the ELBO.
        limit: the largest value of the criterion at which the draws are reliable.
        unreliable: for how many data (or 1, of the whole) it is above the limit.
        verdict: one sentence in plain words.
    """

    table: xr.Dataset
    criterion: str
    limit: float
    unreliable: int
    verdict: str

    def __str__(self) -> str:
        return self.verdict


def diagnose(view: BoundView, guide: Callable, draws: int = 1000) -> Diagnosis:
    """Pareto k, effective sample sizes and the gap of a guide, and one sentence of verdict.

    Args:
        view: a bound view of the model.
        guide: q(z | x), a Pyro program that takes the arguments that the view is bound to.
        draws: the number of draws of the guide, at least 100.

    Raises:
        ValueError: if there are fewer than 100 draws.

    Example:
        >>> import pyro, torch, pyro.distributions as dist
        >>> from pyrometer import EnergyView
        >>> def model(y):
        ...     with pyro.plate("data", len(y)):
        ...         z = pyro.sample("z", dist.Normal(0.0, 1.0))
        ...         pyro.sample("y", dist.Normal(z, 1.0), obs=y)
        >>> def exact(y):
        ...     with pyro.plate("data", len(y)):
        ...         pyro.sample("z", dist.Normal(y / 2, 0.5**0.5))
        >>> print(diagnose(EnergyView(model).bind(torch.tensor([0.3, -0.1])), exact))
        The guide's draws can stand for the posterior: Pareto k is at most 0.67 for all 2 data; ...
    """
    if draws < 100:
        raise ValueError(f"draws must be at least 100 for a Pareto tail to be fitted, got {draws}.")
    return judge(elbo_gap(view, guide, draws), draws)


def judge(table: xr.Dataset, draws: int) -> Diagnosis:
    """The diagnosis that a table of ``elbo_gap`` amounts to, from so many draws."""
    if "pareto_k" in table:
        criterion, limit, values = "Pareto k", reliable_pareto_k(draws), table.pareto_k
    else:
        by_datum = "gap_per_datum" in table
        criterion, limit, values = "gap", NEGLIGIBLE_GAP, table.gap_per_datum if by_datum else table.gap
    values = np.atleast_1d(values.values)
    unreliable = int((~(values <= limit)).sum())
    return Diagnosis(table, criterion, limit, unreliable, _verdict(table, criterion, limit, unreliable, len(values)))


def _verdict(table: xr.Dataset, criterion: str, limit: float, unreliable: int, count: int) -> str:
    whole = "data" not in table.sizes
    if not np.isfinite(table.negative_elbo.item()):
        return (
            "Do not take the guide's draws for the posterior: its ELBO is not finite, as some draws lie outside the "
            "support of the program's latents; give the guide the same supports."
        )
    unit = " nats" if criterion == "gap" else ""
    over = "the data as a whole" if whole else f"all {count} data"
    size = 1 if whole else count
    cost = f"{table.gap.item() / size:.2g} ± {table.gap_error.item() / size:.1g} nats{'' if whole else ' a datum'}"
    if unreliable == 0:
        return (
            f"The guide's draws can stand for the posterior: {criterion} is at most {limit:.2f}{unit} for {over}; "
            f"its ELBO lies {cost} below log p(x)."
        )
    if unreliable == count:
        return (
            f"Do not take the guide's draws for the posterior: {criterion} is above {limit:.2f}{unit} for {over}, and "
            f"its ELBO lies {cost} or more below log p(x); try more steps or a more expressive guide."
        )
    return (
        f"Take care: {criterion} is above {limit:.2f}{unit} for {unreliable} of {count} data, whose posterior the "
        f"guide misses in part, while its draws can be reweighted for the others; its ELBO lies {cost} or more "
        f"below log p(x)."
    )
