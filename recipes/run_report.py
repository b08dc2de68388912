"""The report of runs: everything that was measured of them, on one page."""

import csv
import datetime
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyro
import torch
import xarray as xr
from matplotlib.figure import Figure
from torch import Tensor

from ..inference.diagnostics import Diagnosis, diagnose
from ..inference.diagnostics.report import Picture, Section, Table, write_page
from ..inference.diagnostics.report.diagnosis_section import diagnosis_sections, figure_of, verdict_of
from ..inference.energy import compare, plot_free_energy, plot_gaps, plot_heat_capacity
from ..inference.energy.plots import new_axes
from ..inference.svi.random_state import preserved_random_state
from .image_grid import draw_grid
from .run import OpenRun, open_run
from .run_comparison import comparison_section

__all__ = ["MeasuredRun", "Measures", "measure_run", "report_sections", "write_report"]

RUNGS = [0.25, 0.5, 1.0, 2.0, 4.0, 8.0]
AT_TEMPERATURES = 5
"""Data whose energies are measured at every temperature: that takes most of the time."""
CHAINS = 16
"""Annealed from each end: enough for a picture."""
WORST = 12
"""Data that are shown as pictures."""


@dataclass(frozen=True)
class Measures:
    """How runs are measured.

    Attributes:
        count: at how many of the held-out data, the first 5 of them at other temperatures too; at all, where the data
            share latents.
        draws: of each guide.
        seed: of the draws; the caller's random state is put back.
        temperatures: measure energies at other temperatures; where chains have to be annealed, that takes minutes.
    """

    count: int = 50
    draws: int = 1000
    seed: int = 0
    temperatures: bool = True


@dataclass(frozen=True)
class MeasuredRun:
    """A run with what its report needs: the diagnosis, and of a few data a table of ``compare`` and a ladder."""

    name: str
    opened: OpenRun
    diagnosis: Diagnosis
    gaps: xr.Dataset | None
    ladder: xr.Dataset | None


def write_report(
    runs: Sequence[Path], out: Path, how: Measures | None = None, told: Callable[[str], None] = print
) -> Path:
    """Measures runs, and writes one page of all of them.

    Args:
        runs: their folders.
        out: the file.
        how: they are measured.
        told: is told what is being done.

    Raises:
        ValueError: if a folder holds no run.
    """
    names, how = _names(runs), how or Measures()
    measured = [measure_run(path, name, how, told) for path, name in zip(runs, names, strict=True)]
    verdicts = [verdict_of(run.name, run.diagnosis) for run in measured]
    title = names[0] if len(names) == 1 else "Runs " + ", ".join(names)
    version = measured[0].opened.summary.get("versions", {}).get("pyrometer", "")
    made = f"Made on {datetime.date.today()} by Pyrometer {version}, from {how.draws} draws, seed {how.seed}."
    write_page(out, title, verdicts, report_sections(measured, how.draws), made)
    return out


def measure_run(path: Path, name: str, how: Measures, told: Callable[[str], None]) -> MeasuredRun:
    """Opens a run, and measures it at its first held-out data; the caller's random state is put back."""
    told(f"{name}: opening")
    opened = open_run(path)
    with preserved_random_state():
        pyro.set_rng_seed(how.seed)
        return _measured(opened, name, how, told)


def _measured(opened: OpenRun, name: str, how: Measures, told: Callable[[str], None]) -> MeasuredRun:
    recipe, count = opened.recipe, len(next(iter(opened.recipe.first(how.count).values())))
    told(f"{name}: judging the guide at {count} data")
    labels = {site: value[:count] for site, value in (recipe.labels or {}).items()}
    diagnosis = diagnose(recipe.view(count), recipe.guide, how.draws, labels=labels)
    if diagnosis.criterion == "point mass" or not how.temperatures:
        return MeasuredRun(name, opened, diagnosis, None, None)
    few = recipe.view(min(count, AT_TEMPERATURES))
    told(f"{name}: comparing F_inf, F_1 and -ELBO")
    gaps = compare(few, recipe.guide, how.draws, method="importance", family_steps=0)
    told(f"{name}: measuring energies at {len(RUNGS)} temperatures")
    return MeasuredRun(name, opened, diagnosis, gaps, few.ladder(RUNGS, recipe.guide, chains=CHAINS))


def report_sections(runs: Sequence[MeasuredRun], draws: int) -> list[Section]:
    """The sections of the page: the comparison of runs first, then run by run."""
    sections = (
        [comparison_section([(r.name, r.opened, r.diagnosis.tables.get("gaps")) for r in runs], draws)]
        if len(runs) > 1
        else []
    )
    for run in runs:
        of = f": {run.name}" if len(runs) > 1 else ""
        sections += [_on_settings(run, of), _on_learning(run, of)]
        if run.gaps is not None and run.ladder is not None:
            sections.append(_on_energies(run.gaps, run.ladder, of))
        sections += _on_worst_data(run, of)
        sections += diagnosis_sections(run.diagnosis, of)
    return sections


def _names(runs: Sequence[Path]) -> list[str]:
    short = [path.resolve().name for path in runs]
    return short if len(set(short)) == len(short) else [str(path) for path in runs]


def _on_settings(run: MeasuredRun, of: str) -> Section:
    summary = run.opened.summary
    settings = [[name, _cell(value)] for name, value in {"recipe": run.opened.name, **run.opened.settings}.items()]
    reached = [[name, _cell(value)] for name, value in summary.items() if not isinstance(value, dict)]
    versions = [[name, str(value)] for name, value in summary.get("versions", {}).items()]
    text = []
    if run.opened.changed:
        text.append(
            f"The code of {', '.join(run.opened.changed)} has changed since this run: the page shows its weights, read "
            f"by today's code."
        )
    tables = [Table("Settings", ["setting", "value"], settings), Table("Reached", ["what", "value"], reached)]
    if versions:
        tables.append(Table("Versions", ["package", "version"], versions))
    return Section(f"What was run{of}", text, tables)


def _cell(value: Any) -> str | float | int | None:
    return value if isinstance(value, str | int | float) and not isinstance(value, bool) else str(value)


def _on_learning(run: MeasuredRun, of: str) -> Section:
    file = run.opened.path / "metrics.csv"
    if not file.is_file():
        return Section(f"Learning{of}", ["The run has no metrics.csv: its learning curve is not known."])
    with file.open(newline="") as lines:
        rows = list(csv.DictReader(lines))
    columns = [name for name in rows[0] if name not in ("epoch", "steps", "rate")]
    pictures = []
    for name in columns:
        points = [(int(row["epoch"]), float(row[name])) for row in rows if row.get(name)]
        ax = new_axes()
        ax.plot(*zip(*points, strict=True), color="#0072b2", linewidth=1.4)
        label = "loss, nats per datum" if name == "loss" else name.replace("_", " ")
        ax.set(xlabel="epoch", ylabel=label)
        ax.spines[["top", "right"]].set_visible(False)
        if name == "loss":
            _leave_out_the_start(ax, [value for _, value in points])
        alt = f"{label} over {len(points)} epochs, from {points[0][1]:.3g} to {points[-1][1]:.3g}."
        pictures.append(Picture(figure_of(ax), alt, f"{label.capitalize()} over the epochs."))
    return Section(f"Learning{of}", [], [], pictures)


def _leave_out_the_start(ax: Any, values: Sequence[float]) -> None:
    """The first losses can be thousands of times the last: the axis shows what lies within the later ones."""
    finite = sorted(value for value in values if math.isfinite(value))
    if len(finite) < 20:
        return
    low, high = finite[0], finite[int(0.95 * len(finite))]
    if finite[-1] - low > 4 * (high - low) > 0:
        ax.set_ylim(low - 0.05 * (high - low), high + 0.1 * (high - low))


def _on_energies(gaps: xr.Dataset, ladder: xr.Dataset, of: str) -> Section:
    names = {
        "zero_temperature": "F_inf",
        "free_energy": "F_1",
        "negative_elbo": "-ELBO",
        "entropic_gap": "F_1 - F_inf",
        "gap": "-ELBO - F_1",
        "approximation_gap": "approximation gap",
        "amortization_gap": "amortisation gap",
    }
    total = [
        [label, gaps[name].item(), gaps[f"{name}_error"].item() if f"{name}_error" in gaps else None]
        for name, label in names.items()
        if name in gaps
    ]
    count = f"the first {gaps.sizes['data']} data" if "data" in gaps.sizes else "all data"
    kinds = (
        f"{name}: {table.attrs['bound']}, by {table.attrs['method']}"
        for name, table in (("F_1", gaps), ("ladder", ladder))
    )
    kind = f"{'; '.join(kinds)}. All in nats, for {count} together."
    tables = [Table("Energies and gaps, in nats", ["what", "value", "standard error"], total)]
    last, first = ladder.free_energy.values[-1], ladder.free_energy.values[0]
    pictures = [
        Picture(
            figure_of(plot_free_energy(ladder)),
            f"Free and mean energy over {ladder.sizes['beta']} inverse temperatures, F from {first:.4g} to {last:.4g}.",
            "The free energy F and the mean energy U over the inverse temperature, beside the lowest energy.",
        ),
        Picture(
            figure_of(plot_heat_capacity(ladder)),
            f"The heat capacity over {ladder.sizes['beta']} inverse temperatures.",
            "The heat capacity: half a unit for every dimension that is thermally spread.",
        ),
        Picture(
            figure_of(plot_gaps(gaps)),
            f"Bars of the gaps: F_1 - F_inf is {gaps.entropic_gap.item():.4g}, -ELBO - F_1 is {gaps.gap.item():.4g}.",
            "What the best explanation alone leaves out, and what the guide loses.",
        ),
    ]
    return Section(f"Energies over temperature{of}", [kind], tables, pictures)


def _on_worst_data(run: MeasuredRun, of: str) -> list[Section]:
    """The data with the largest free energies: the model explains them worst."""
    gaps = run.diagnosis.tables.get("gaps")
    if gaps is None or "free_energy_per_datum" not in gaps:
        return []
    energies = gaps.free_energy_per_datum.values
    order = (-energies).argsort()
    names = ("free_energy", "negative_elbo", "gap")
    header = ["datum", "F_1", "-ELBO", "-ELBO - F_1"]
    rows = [[int(n), *(float(gaps[f"{name}_per_datum"].values[n]) for name in names)] for n in order]
    if "pareto_k" in gaps:
        header.append("Pareto k")
        rows = [[*row, float(gaps.pareto_k.values[row[0]])] for row in rows]
    table = Table(
        "Free energy of each datum, worst first",
        header,
        rows,
        f"In nats; F_1 is {gaps.attrs['bound']}, by {gaps.attrs['method']}.",
    )
    text = "The model finds the data of the largest free energy least probable."
    pictures = []
    image = next((value for value in run.opened.recipe.held_out.values() if _is_image(value)), None)
    if image is not None:
        worst = order[:WORST]
        columns = math.ceil(len(worst) / 2) if len(worst) > 6 else len(worst)
        chosen = torch.cat(
            [image[torch.from_numpy(worst.copy())], image.new_zeros(-len(worst) % columns, *image.shape[1:])]
        )
        ax = Figure(figsize=(6.5, 1.2 * len(chosen) / columns), layout="constrained").subplots()
        draw_grid(ax, chosen.unflatten(0, (-1, columns)).clamp(0, 1))
        listed = ", ".join(f"{int(n)} ({energies[n]:.1f})" for n in worst)
        alt = f"The {len(worst)} images with the largest free energies, largest first."
        pictures.append(Picture(figure_of(ax), alt, f"The worst explained, by datum (and F_1 in nats): {listed}."))
    return [Section(f"Worst explained data{of}", [text], [table], pictures)]


def _is_image(value: Tensor) -> bool:
    return value.dim() == 3 and value.is_floating_point() and value.shape[1] > 1 and value.shape[2] > 1
