"""Runs beside each other: which model predicts the same data best, by PSIS-LOO or by the free energy of each datum."""

from collections.abc import Sequence

import numpy as np
import torch
import xarray as xr

from ..inference import arviz_versions
from ..inference.diagnostics import to_arviz
from ..inference.diagnostics.report import Picture, Section, Table
from ..inference.diagnostics.report.diagnosis_section import figure_of
from ..inference.energy.plots import new_axes
from .run import OpenRun

__all__ = ["comparison_section", "pointwise_comparison"]

HEADER = ["run", "elpd", "± elpd", "difference to the best", "± difference"]


def comparison_section(runs: Sequence[tuple[str, OpenRun, xr.Dataset | None]], draws: int) -> Section:
    """Expected log predictive densities of runs at the same data, and their differences with standard errors.

    Where no latent is shared, each held-out datum counts with -F_1 = log p(x_n), which no other datum has a part in;
    else by Pareto-smoothed leave-one-out cross-validation of ArviZ, with draws resampled from the guide.

    Args:
        runs: their names, the runs, and their tables of ``compare``.
        draws: of each guide, for LOO.
    """
    title = "The runs compared"
    named, opened, gaps = [list(part) for part in zip(*runs, strict=True)]
    if any(table is None for table in gaps):
        return Section(title, ["They are not compared: the guide of one is a point mass, and has no ELBO."])
    if not _same_data(opened):
        return Section(title, ["They are not compared: their held-out data differ, and so would mean something else."])
    if all(run.recipe.whole for run in opened):
        how = "Each datum is left out in turn (PSIS-LOO of ArviZ, with draws resampled from the guides), in nats."
        rows, doubt = _by_leaving_out(named, opened, draws)
        how += doubt
    elif all("free_energy_per_datum" in table for table in gaps):
        how = "Each held-out datum counts with log p(x) = -F_1, in nats; differences are paired by datum."
        rows = pointwise_comparison({n: -t.free_energy_per_datum.values for n, t in zip(named, gaps, strict=True)})
    else:
        return Section(title, ["They are not compared: in some the data share latents, and in others they do not."])
    return Section(title, [how], [Table("Predictive density, best first", HEADER, rows, digits=5)], [_picture(rows)])


def pointwise_comparison(elpd: dict[str, np.ndarray]) -> list[list[str | float]]:
    r"""Rows of the table, best first, from log predictive densities by datum, (N,).

    .. math:: \Delta = \sum_n (l_n - l^*_n), \qquad \text{error} = \sqrt{N \operatorname{Var}_n (l_n - l^*_n)}

    Reference: A. Vehtari, A. Gelman, J. Gabry (2017), Practical Bayesian model evaluation using leave-one-out
    cross-validation and WAIC, equation 24. https://arxiv.org/abs/1507.04544

    Example:
        >>> _, worse = pointwise_comparison({"a": np.array([-1.0, -2.0]), "b": np.array([-1.5, -3.5])})
        >>> worse[0], worse[3], round(worse[4], 6)
        ('b', -2.0, 1.0)
    """
    ordered = sorted(elpd.items(), key=lambda one: -float(one[1].sum()))
    best = ordered[0][1]

    def error(values: np.ndarray) -> float:
        return float(np.sqrt(len(values)) * values.std(ddof=1))

    return [[n, float(v.sum()), error(v), float((v - best).sum()), error(v - best)] for n, v in ordered]


def _by_leaving_out(names: list[str], runs: list[OpenRun], draws: int) -> tuple[list[list[str | float]], str]:
    """The rows, and what is to be doubted in them."""
    data = {
        name: to_arviz(run.recipe.view(), run.recipe.guide, draws, resample=True)
        for name, run in zip(names, runs, strict=True)
    }
    table = arviz_versions.compare(data)
    doubted = [name for name, row in table.items() if row["warning"]]
    doubt = (
        f" ArviZ warns of {', '.join(doubted)}: Pareto k of some data that are left out is too large."
        if doubted
        else ""
    )
    return [[name, *(row[key] for key in ("elpd", "se", "elpd_diff", "dse"))] for name, row in table.items()], doubt


def _same_data(runs: Sequence[OpenRun]) -> bool:
    first = runs[0].recipe.held_out
    return all(
        run.recipe.held_out.keys() == first.keys()
        and all(torch.equal(value, first[name]) for name, value in run.recipe.held_out.items())
        for run in runs[1:]
    )


def _picture(rows: list[list[str | float]]) -> Picture:
    ax = new_axes((6.0, 1.0 + 0.4 * len(rows)))
    differences, errors = [float(row[3]) for row in rows], [float(row[4]) for row in rows]
    ax.errorbar(differences, range(len(rows)), xerr=[2 * e for e in errors], fmt="o", color="#0072b2", capsize=3)
    ax.axvline(0.0, color="black", linewidth=0.8, linestyle="--")
    ax.set_yticks(range(len(rows)), [str(row[0]) for row in rows])
    ax.invert_yaxis()
    ax.set_xlabel("difference to the best in predictive density, nats (± 2 standard errors)")
    ax.spines[["top", "right"]].set_visible(False)
    alt = "Differences to the best run: " + ", ".join(f"{row[0]} {float(row[3]):.4g}" for row in rows) + "."
    return Picture(figure_of(ax), alt, "How much worse than the best each run predicts.")
