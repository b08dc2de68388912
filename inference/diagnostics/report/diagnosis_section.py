"""What a diagnosis says, as a verdict and sections of the page."""

import math
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ...energy.free_energy import reliable_pareto_k
from ..diagnosis import Diagnosis
from ..diagnosis_plots import plot_loo_pit, plot_moments, plot_pareto_k, plot_reliability, plot_units
from ..loo_pit import LEVEL
from ..moments import element_rows
from ..uniformity import coverage
from .page import Picture, Section, Table, Verdict

__all__ = ["diagnosis_sections", "figure_of", "verdict_of"]

MOST_ROWS = 200


def verdict_of(name: str, diagnosis: Diagnosis) -> Verdict:
    """The verdict of a diagnosis, with its findings."""
    return Verdict(name, diagnosis.level, diagnosis.verdict, diagnosis.findings)


def diagnosis_sections(diagnosis: Diagnosis, of: str = "") -> list[Section]:
    """Sections with the numbers of a diagnosis: the guide beside the posterior, codes, labels, predictions.

    Args:
        diagnosis: of one run.
        of: what is put behind the titles, to tell runs apart.
    """
    tables = diagnosis.tables
    makers = {"labels": _on_labels, "units": _on_units, "predictions": _on_predictions, "loo_pit": _on_loo_pit}
    sections = [_on_the_guide(diagnosis, of)]
    return sections + [make(tables[name], of) for name, make in makers.items() if name in tables]


def figure_of(axes: Axes) -> Figure:
    """The figure that axes are drawn in."""
    figure = axes.get_figure()
    assert isinstance(figure, Figure)
    return figure


def _on_the_guide(diagnosis: Diagnosis, of: str) -> Section:
    tables, text, shown, pictures = diagnosis.tables, [], [], []
    if "gaps" in tables and "pareto_k" in tables["gaps"] and "data" in tables["gaps"].pareto_k.dims:
        count = tables["gaps"].pareto_k.size
        alt = f"Pareto k of {count} data; {diagnosis.unreliable} are above the limit of {diagnosis.limit:.2f}."
        caption = "Pareto k by datum: below the limit, weights can correct the guide's draws."
        pictures.append(Picture(figure_of(plot_pareto_k(diagnosis)), alt, caption))
    for name, beside in (("moments", "by importance weights"), ("reference", "by reference draws")):
        if name not in tables:
            continue
        rows = element_rows(tables[name])
        if not rows:
            continue
        note = f"The {MOST_ROWS} most off of {len(rows)}." if len(rows) > MOST_ROWS else ""
        header = ["latent", "guide mean", "guide sd", "mean", "sd", "shift, sds", "± shift", "sd ratio"]
        shown.append(
            Table(f"Guide and posterior, {beside}", header, [_row(r) for r in rows[:MOST_ROWS]], note, digits=3)
        )
        alt = f"Intervals of the guide and of the posterior {beside} for the {min(25, len(rows))} latents most off."
        pictures.append(
            Picture(figure_of(plot_moments(tables[name])), alt, f"The guide beside the posterior {beside}.")
        )
    if "push" in tables:
        push = tables["push"]
        most = push.isel(direction=int(np.abs(push["push"].values).argmax()))
        text.append(
            f"The strongest push on the guide is {most['push'].item():+.3f} ± {most.push_error.item():.3f} nats for "
            f"each standard deviation, in {most.direction.item()}: a guide that has arrived has 0."
        )
    if "moments" in tables:
        text.append(
            "The posterior by importance weights is only to be trusted where Pareto k is below its limit. A shift is "
            "that of the guide's mean, in posterior standard deviations."
        )
    return Section(f"The guide{of}", text, shown, pictures)


def _row(row: dict[str, Any]) -> list[str | float | None]:
    names = ("element", "guide_mean", "guide_sd", "mean", "sd", "shift", "shift_error")
    return [*(row[name] for name in names), math.exp(row["log_ratio"])]


def _on_units(units: xr.Dataset, of: str) -> Section:
    rows = [[name, i, float(v)] for name, values in units.items() for i, v in enumerate(np.ravel(values.values))]
    active = sum(row[2] > units.attrs["active"] for row in rows)
    alt = (
        f"Bars of the activity of {len(rows)} dimensions, largest first; {active} are above {units.attrs['active']:g}."
    )
    caption = "The variance of the guide's mean between data, over the prior's: 0 is a dimension that carries nothing."
    pictures = [Picture(figure_of(plot_units(units)), alt, caption)]
    table = Table(
        "Activity of each dimension", ["code", "dimension", "variance between data / prior's"], rows, digits=3
    )
    return Section(f"What the codes carry{of}", [], [table], pictures)


def _on_labels(labels: xr.Dataset, of: str) -> Section:
    header = ["site", "accuracy", "confidence", "ECE", "ECE if calibrated"]
    names = ("accuracy", "confidence", "ece", "ece_if_calibrated")
    rows = [[str(site), *(labels[name].sel(site=site).item() for name in names)] for site in labels.site.values]
    pictures = [
        Picture(
            figure_of(plot_reliability(labels, site)),
            f"Accuracy over confidence of {site} in ten bins, beside the diagonal.",
            f"The guide's probabilities of {site} against how often they are right.",
        )
        for site in map(str, labels.site.values)
    ]
    return Section(f"Labels{of}", [], [Table("Labels, as fractions", header, rows, digits=3)], pictures)


def _on_predictions(table: xr.Dataset, of: str) -> Section:
    header = ["site", "statistic", "data", "simulated", "p"]
    rows = [
        [str(site), str(statistic), *(row[name].item() for name in ("observed", "simulated", "p"))]
        for site in table.site.values
        for statistic in table.statistic.values
        for row in [table.sel(site=site, statistic=statistic)]
    ]
    text = "A p-value near 0 or 1 says that the model does not make such data; one near a half says little."
    return Section(f"Simulated data{of}", [text], [Table("Statistics of data and of simulations", header, rows)])


def _on_loo_pit(table: xr.Dataset, of: str) -> Section:
    ordered = table.sortby("departure").isel(quantity=slice(MOST_ROWS))
    header = ["quantity", "data", "mean u", "in the central 50 %", "in the central 90 %", "p by itself"]
    rows = []
    for name, u, p in zip(ordered["quantity"].values, ordered.pit.values, ordered.p.values, strict=True):
        own = u[~np.isnan(u)]
        shares = [float(coverage(own, interval)) for interval in (0.5, 0.9)]
        rows.append([str(name), len(own), float(own.mean()), *shares, float(p)])
    count = table.sizes["quantity"]
    what = "Each datum is predicted from all others, and u is the part of the predictions that lies below it (LOO-PIT)"
    text = [f"{what}: uniform, with a mean of one half, where the model is right."]
    if "pareto_k" in table:
        k, limit = table.pareto_k.max().item(), reliable_pareto_k(table.attrs["draws"])
        text.append(
            f"The weights that leave a datum out have a Pareto k of up to {k:.2f}; above {limit:.2f} its u says little."
        )
    note = f"The {MOST_ROWS} that depart most of {count}." if count > MOST_ROWS else ""
    alt = f"Distance of the ECDF of u from uniform for {count} quantities, over the band of {100 * LEVEL:g} %."
    caption = (
        "Up at the left and down at the right, the model predicts too narrowly; the other way round, too widely; above "
        "zero throughout, too high; below, too low."
    )
    pictures = [Picture(figure_of(plot_loo_pit(table)), alt, caption)]
    shown = Table("Where data lie in their predictions", header, rows, note, digits=3)
    return Section(f"Data predicted from the others{of}", text, [shown], pictures)
