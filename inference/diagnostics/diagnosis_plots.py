"""Pictures of a diagnosis: Pareto k, moments, how active units are, and what should be frequencies and uniform."""

import numpy as np
import xarray as xr
from matplotlib.axes import Axes

from ..energy.plots import new_axes
from .active_units import ACTIVE
from .diagnosis import Diagnosis
from .ecdf_lines import draw_ecdfs
from .loo_pit import LEVEL, pit_band
from .moments import element_rows

__all__ = ["plot_loo_pit", "plot_moments", "plot_pareto_k", "plot_reliability", "plot_units"]

GOOD, BAD, LIMIT = "#0072b2", "#d55e00", "#000000"
LINES = (GOOD, BAD, "#009e73", "#cc79a7")
MOST = 25
"""Rows of a picture."""


def plot_pareto_k(diagnosis: Diagnosis, ax: Axes | None = None) -> Axes:
    """Pareto k of each datum, with the limit up to which weights can correct a guide's draws.

    Args:
        diagnosis: of data that share no latent.
        ax: axes to draw into; those of a new figure without.

    Returns:
        The axes; ``.figure.savefig(...)`` writes the picture.

    Raises:
        ValueError: if there is no k by datum.
    """
    table = diagnosis.tables.get("gaps", xr.Dataset())
    if "pareto_k" not in table or "data" not in table.pareto_k.dims:
        raise ValueError("diagnosis has no Pareto k by datum: the data share a latent, or every latent is discrete.")
    ax = new_axes() if ax is None else ax
    k = table.pareto_k.values
    shown = np.where(np.isfinite(k), k, np.nan)
    place, poor = np.arange(len(k)), ~(k <= diagnosis.limit)
    ax.plot(place[~poor], shown[~poor], "o", color=GOOD, markersize=4, label="reliable")
    ax.plot(place[poor], shown[poor], "^", color=BAD, markersize=5, label="not reliable")
    ax.axhline(diagnosis.limit, color=LIMIT, linestyle="--", linewidth=1, label=f"limit, {diagnosis.limit:.2f}")
    ax.set(xlabel="datum", ylabel="Pareto k")
    ax.legend(framealpha=0.9, fontsize="medium")
    ax.spines[["top", "right"]].set_visible(False)
    return ax


def plot_moments(moments: xr.Dataset, ax: Axes | None = None) -> Axes:
    """The worst elements of a table of moments: guide and posterior side by side, in posterior standard deviations.

    Args:
        moments: a table of a diagnosis, ``moments`` or ``reference``.
        ax: axes to draw into.
    """
    rows = element_rows(moments)[:MOST]
    ax = new_axes((6.0, 1.2 + 0.25 * len(rows))) if ax is None else ax
    for place, row in enumerate(rows):
        sd = row["sd"] if row["sd"] > 0 else 1.0
        ax.plot([-2, 2], [place - 0.12] * 2, color=LIMIT, linewidth=1.2)
        ax.plot([0], [place - 0.12], "|", color=LIMIT, markersize=7)
        centre, width = (row["guide_mean"] - row["mean"]) / sd, 2 * row["guide_sd"] / sd
        ax.plot([centre - width, centre + width], [place + 0.12] * 2, color=GOOD, linewidth=2.2)
        ax.plot([centre], [place + 0.12], "o", color=GOOD, markersize=4)
    ax.plot([], [], color=LIMIT, linewidth=1.2, label="posterior, mean ± 2 sd")
    ax.plot([], [], color=GOOD, linewidth=2.2, marker="o", markersize=4, label="guide, mean ± 2 sd")
    ax.set_yticks(range(len(rows)), [row["element"] for row in rows])
    ax.invert_yaxis()
    ax.set_xlabel("posterior standard deviations from the posterior's mean")
    ax.legend(framealpha=0.9, fontsize="small", loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=2)
    ax.spines[["top", "right"]].set_visible(False)
    return ax


def plot_units(units: xr.Dataset, ax: Axes | None = None) -> Axes:
    """How much of the prior's variance is between data, by dimension of every code, largest first."""
    values = {name: np.sort(np.ravel(value.values))[::-1] for name, value in units.items()}
    ax = new_axes() if ax is None else ax
    start = 0
    for index, (name, active) in enumerate(values.items()):
        place = start + np.arange(len(active))
        ax.bar(place, np.clip(active, 1e-4, None), color=(GOOD, "#56b4e9", "#009e73")[index % 3], label=str(name))
        start += len(active) + 1
    ax.axhline(ACTIVE, color=LIMIT, linestyle="--", linewidth=1, label=f"active above {ACTIVE:g}")
    ax.set_yscale("log")
    ax.set(xlabel="dimension, by activity", ylabel="variance between data / prior variance")
    ax.legend(framealpha=0.9, fontsize="medium")
    ax.spines[["top", "right"]].set_visible(False)
    return ax


def plot_reliability(table: xr.Dataset, site: str | None = None, ax: Axes | None = None, name: str = "guide") -> Axes:
    """Accuracy over confidence of a label, in bins of as many data each; on the diagonal it is calibrated.

    Args:
        table: of a diagnosis, ``labels``; or of ``reliability``.
        site: the row to draw of a table over several.
        ax: axes to draw into; those of a new figure without. Another call adds a line to them.
        name: what the legend calls the line.
    """
    ax = new_axes((4.5, 4.5)) if ax is None else ax
    row = table if site is None else table.sel(site=site)
    before = [line for line in ax.get_lines() if line.get_label() == "calibrated"]
    if not before:
        ax.plot([0, 1], [0, 1], "--", color=LIMIT, linewidth=1, label="calibrated")
    colour = LINES[(len(ax.get_lines()) - 1) % len(LINES)]
    label = f"{name}, ECE {row.ece.item():.3f}"
    ax.plot(row.bin_confidence, row.bin_accuracy, "o-", color=colour, markersize=5, label=label)
    low = min(row.bin_confidence.min().item(), row.bin_accuracy.min().item()) - 0.02
    low = min(low, ax.get_xlim()[0]) if before else low
    ax.set(xlim=(low, 1.02), ylim=(low, 1.02))
    ax.set(xlabel=f"confidence in {site}" if site else "confidence", ylabel="accuracy")
    ax.legend(framealpha=0.9, fontsize="medium")
    ax.spines[["top", "right"]].set_visible(False)
    return ax


def plot_loo_pit(table: xr.Dataset, ax: Axes | None = None) -> Axes:
    """The ECDF of u minus u, u being where each datum lies in what is predicted of it from the others.

    Above zero at the left and below at the right, the model predicts too narrowly; the other way round, too widely;
    above zero throughout, it predicts too high; below, too low. The worst five quantities have names.

    Args:
        table: ``loo_pit`` of a diagnosis.
        ax: axes to draw into.
    """
    ax = new_axes((7.5, 4.0)) if ax is None else ax
    draw_ecdfs(ax, table, pit_band(table), f"{100 * LEVEL:g} % band of all {table.sizes['quantity']}")
    ax.set_xlabel("$u$, part of the predictions below the datum")
    return ax
