"""The `pyrometer` command: fit a recipe, then measure, diagnose and sample what it reached."""

import inspect
import itertools
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import pyro
import typer
import xarray as xr
from rich.console import Console
from rich.markup import escape
from rich.status import Status
from rich.table import Table

from .inference.diagnostics import diagnose, simulate, to_arviz
from .inference.energy import compare
from .inference.energy.elbo_gap import elbo_gap
from .inference.svi.messages import told_error
from .inference.svi.processes import is_first_process, process_count, process_rank
from .inference.svi.random_state import noise_state, set_random_state
from .recipes.energy_pictures import draw_energy_pictures
from .recipes.recipe import find, names, settings_of
from .recipes.run import OpenRun, draw_pictures, open_run, run
from .recipes.run_report import Measures, write_report
from .recipes.shared_energies import measure_in_shares

__all__ = ["app", "main"]

app = typer.Typer(
    no_args_is_help=True, add_completion=False, rich_markup_mode="markdown", pretty_exceptions_enable=False
)
# Under torchrun every process runs a command, and the first speaks.
console = Console(quiet=not is_first_process())
errors = Console(stderr=True)

RUNGS = [0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0]
"""The inverse temperatures of the pictures, where `--betas` names no others."""
COLUMNS = {
    "zero_temperature": "F_inf",
    "entropic_gap": "F_1 - F_inf",
    "free_energy": "F_1",
    "negative_elbo": "-ELBO",
    "gap": "-ELBO - F_1",
}

RunFolder = Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a run, made by `pyrometer fit`.")]
Draws = Annotated[int, typer.Option(help="Draws of the guide; at least 100.")]
Count = Annotated[int, typer.Option(help="How many of the held-out data.")]
Seed = Annotated[int, typer.Option(help="Seeds the draws.")]


@app.command()
def fit(
    recipe: Annotated[str, typer.Argument(metavar="RECIPE|FILE.py", help="A recipe (`pyrometer list`) or your file.")],
    epochs: Annotated[int | None, typer.Option(help="Passes over the data; the recipe's own without.")] = None,
    data: Annotated[str | None, typer.Option(help="Short for `--set data=...`, where the recipe has a choice.")] = None,
    labels: Annotated[int | None, typer.Option(help="Short for `--set labels=...`.")] = None,
    seed: Annotated[int, typer.Option(help="Seeds the split, the weights and the training.")] = 0,
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="A setting; repeatable.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="The run's folder; `runs/RECIPE`, numbered, without.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue the interrupted run in `--out`.")] = False,
    compile: Annotated[
        bool | None, typer.Option("--compile/--no-compile", help="Compile steps; without, where it pays.")
    ] = None,
    precision: Annotated[str, typer.Option(help="`32-true`, or `bf16` for matrix products in bfloat16.")] = "32-true",
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress bar.")] = False,
) -> None:
    """Train a recipe by SVI into a run folder.

    A run can be interrupted at any moment and continued with `--resume`, to the same numbers bit for bit.

    Examples:

        pyrometer fit gaussian_mixture

        pyrometer fit ssvae --data mnist --labels 100 --out runs/mnist-100

        pyrometer fit my_recipe.py --set learning_rate=0.01 --epochs 50
    """
    with _plain_errors():
        settings = _settings(set_ or [], data=data, labels=labels, seed=seed)
        if resume and out is None:
            raise ValueError("--resume needs --out, the folder of the run that is to be continued.")
        folder = out or _free_folder(Path("runs") / Path(recipe).stem)
        how: dict[str, Any] = {"compile": "auto" if compile is None else compile, "precision": precision}
        _, result, reached = run(recipe, settings, folder, epochs=epochs, resume=resume, progress=not quiet, **how)
    table = Table("reached", "", title=f"{recipe}: {result.epochs} epochs, {result.seconds:.0f} s")
    for name, value in reached.items():
        if isinstance(value, float | int | str):
            table.add_row(name, f"{value:.4f}" if isinstance(value, float) else str(value))
    console.print(table)
    console.print(f"Steps: {result.engine}.")
    console.print(f"The run is in {folder}. Next: pyrometer energy {folder}; pyrometer diagnose {folder}")


@app.command()
def energy(
    run_folder: RunFolder,
    count: Count = 10,
    draws: Draws = 1000,
    seed: Seed = 0,
    betas: Annotated[
        str | None, typer.Option(metavar="B,B,...", help="Inverse temperatures of a ladder, such as 0.1,1,10.")
    ] = None,
    pictures: Annotated[bool, typer.Option(help="Draw into RUN/pictures.")] = True,
) -> None:
    """Print F_inf, F_1 = -log p(x), -ELBO and the gaps between them of a run's held-out data, in nats; draw pictures.

    With `--betas` also F, U, H and c at those inverse temperatures. The pictures show F and c over beta, the gaps, and
    the energy across latents of one or two dimensions. Processes that torchrun has started share the data.

    Examples:

        pyrometer energy runs/vae --betas 0.1,1,10

        pyrometer energy runs/vae --count 100 --no-pictures
    """
    with _plain_errors(), Status("opening the run", console=console) as status:
        rungs = _betas(betas) if betas is not None else RUNGS
        opened = _open(run_folder, seed)
        recipe, guide = opened.recipe, opened.recipe.guide
        status.update(f"comparing F_inf, F_1 and -ELBO of {count} data")
        table = measure_in_shares(recipe, count, lambda view: compare(view, guide, draws))
        console.print(_energy_table(table, str(run_folder)))
        if "approximation_gap" in table:
            parts = ("approximation", "amortization")
            sizes = (_with_error(table, f"{part}_gap{{}}") for part in parts)
            console.print("Of -ELBO - F_1 in total: approximation gap {}, amortisation gap {}.".format(*sizes))
        status.update(f"measuring F, U, H and c at {len(rungs)} inverse temperatures")
        ladder = None
        if betas is not None or pictures:
            ladder = measure_in_shares(recipe, count, lambda view: view.ladder(rungs, guide))
        if ladder is not None and betas is not None:
            console.print(_ladder_table(ladder))
        status.update("drawing")
        if ladder is not None and pictures and is_first_process():
            for path in draw_energy_pictures(recipe.view(count), guide, table, ladder, run_folder / "pictures"):
                console.print(f"Wrote {path}.")


@app.command("diagnose")
def diagnose_run(
    run_folder: RunFolder,
    count: Count = 50,
    draws: Draws = 1000,
    seed: Seed = 0,
    nuts: Annotated[bool, typer.Option("--nuts", help="Compare with NUTS, if ten minutes are enough for it.")] = False,
) -> None:
    """Judge a run's guide, and write `posterior.nc` for ArviZ (`arviz.from_netcdf`).

    Processes that torchrun has started share the data of the gaps; the first does the rest and writes.

    Examples:

        pyrometer diagnose runs/vae

        pyrometer diagnose runs/mnist --count 500 --draws 4000
    """
    with _plain_errors(), Status("opening the run", console=console) as status:
        opened = _open(run_folder, seed)
        recipe, guide = opened.recipe, opened.recipe.guide
        status.update(f"judging the guide at {count} data")
        gaps = None
        if process_count() > 1:
            gaps = measure_in_shares(recipe, count, lambda view: elbo_gap(view, guide, draws))
            if not is_first_process():
                return
        labels = {name: value[:count] for name, value in (recipe.labels or {}).items()}
        judged = diagnose(recipe.view(count), guide, draws, "nuts" if nuts else None, labels, gaps)
        written = run_folder / "posterior.nc"
        if judged.criterion != "point mass":
            noted = {"seed": seed, "run": str(run_folder), "settings": opened.settings}
            to_arviz(recipe.view(count), guide, draws, attributes=noted).to_netcdf(str(written))
    console.print(judged.verdict, style="bold")
    for finding in judged.findings:
        console.print(f"* {finding}")
    console.print(f"From {draws} draws of the guide at {len(next(iter(recipe.first(count).values())))} data.")
    if judged.criterion != "point mass":
        console.print(f"Wrote {written}.", soft_wrap=True)


@app.command()
def report(
    run_folders: Annotated[list[Path], typer.Argument(metavar="RUN ...", help="Folders of runs.")],
    count: Count = 50,
    draws: Draws = 1000,
    seed: Seed = 0,
    temperatures: Annotated[
        bool, typer.Option(help="Energies at other temperatures too, which may take minutes.")
    ] = True,
    out: Annotated[Path | None, typer.Option(help="The file; `report.html` in the first run's folder without.")] = None,
) -> None:
    """Write one HTML page of runs: verdicts, settings, learning, energies, worst data, comparison.

    It needs no other file, and opens from disk.

    Examples:

        pyrometer report runs/vae

        pyrometer report runs/vae runs/vae-2 --out compared.html
    """
    if not is_first_process():
        return
    with _plain_errors(), Status("opening the runs", console=console) as status:
        file, measures = out or run_folders[0] / "report.html", Measures(count, draws, seed, temperatures)
        written = write_report(run_folders, file, measures, status.update)
    console.print(f"Wrote {written}.", soft_wrap=True)


@app.command()
def sample(run_folder: RunFolder, count: Count = 100, seed: Seed = 0) -> None:
    """Draw new latents and data from a run's model into `samples.nc`, and draw its pictures again."""
    if not is_first_process():
        return
    with _plain_errors():
        opened = _open(run_folder, seed)
        simulated = simulate(opened.recipe.view(count))
        simulated.to_netcdf(str(run_folder / "samples.nc"))
        pictures = draw_pictures(opened.recipe, run_folder)
    console.print(f"Wrote {run_folder / 'samples.nc'}: {', '.join(map(str, simulated))}, {count} of each.")
    for path in pictures:
        console.print(f"Wrote {path}.")


@app.command("list")
def list_recipes() -> None:
    """List the recipes with their settings."""
    table = Table("recipe", "settings", "", title="Recipes: pyrometer fit NAME --set SETTING=VALUE")
    for name in names():
        function = find(name)
        settings = ", ".join(f"{key}={value.default!r}" for key, value in settings_of(function).items())
        table.add_row(name, settings, (inspect.getdoc(function) or "").split("\n")[0])
    console.print(table)


def main() -> None:
    """The console script."""
    app()


@contextmanager
def _plain_errors() -> Iterator[None]:
    """What a user can mend is one message, without a traceback; PYROMETER_TRACEBACK=1 shows it all."""
    try:
        yield
    except (ValueError, TypeError, OSError, ArithmeticError) as error:
        if os.environ.get("PYROMETER_TRACEBACK"):
            raise
        if told_error(error) is None:
            errors.print(f"[bold red]pyrometer:[/] {escape(str(error))}", soft_wrap=True)
        raise typer.Exit(2) from None
    except KeyboardInterrupt as interrupt:
        for note in ("interrupted.", *getattr(interrupt, "__notes__", [])) if told_error(interrupt) is None else ():
            errors.print(f"[bold red]pyrometer:[/] {escape(note)}", soft_wrap=True)
        raise typer.Exit(130) from None


def _settings(pairs: list[str], **shortcuts: Any) -> dict[str, Any]:
    settings = {name: value for name, value in shortcuts.items() if value is not None}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals:
            raise ValueError(f"--set takes NAME=VALUE, got {pair!r}.")
        settings[name] = value
    return settings


def _betas(text: str) -> list[float]:
    try:
        betas = [float(part) for part in text.split(",")]
    except ValueError:
        betas = []
    if not betas or not all(0 < beta < math.inf for beta in betas):
        raise ValueError(f"--betas takes positive numbers with commas between them, such as 0.1,1,10; got {text!r}.")
    return betas


def _free_folder(stem: Path) -> Path:
    numbered = (stem.with_name(f"{stem.name}-{number}") for number in itertools.count(2))
    return next(folder for folder in itertools.chain([stem], numbered) if not folder.exists())


def _open(run_folder: Path, seed: int) -> OpenRun:
    opened = open_run(run_folder)
    if opened.changed and is_first_process():
        told = f"the code of {', '.join(opened.changed)} has changed since this run: its weights are read by today's."
        errors.print(f"[bold yellow]pyrometer:[/] {escape(told)}", soft_wrap=True)
    pyro.set_rng_seed(seed)
    if not is_first_process():  # else the draws for its share would be those for the first
        set_random_state(noise_state(seed, process_rank()))
    return opened


def _energy_table(table: xr.Dataset, name: str) -> Table:
    columns = {column: heading for column, heading in COLUMNS.items() if column in table}
    evidence = "pareto_k" if "pareto_k" in table else "ess"
    title = f"{name}: nats, F_1 {table.attrs['bound']}"
    # Without lines it fits into a terminal of 80 columns.
    printed = Table(title=title, box=None, padding=(0, 2, 0, 0), pad_edge=False)
    for heading in ("datum", *columns.values(), evidence.replace("_", "\n")):
        printed.add_column(heading, justify="right")
    for datum in range(table.sizes.get("data", 0)):
        row = table.isel(data=datum)
        energies = [_with_error(row, f"{column}{{}}_per_datum") for column in columns]
        printed.add_row(str(datum), *energies, f"{row[evidence].item():.2f}")
    k = "" if "data" in table.sizes else f"{table[evidence].item():.2f}"
    printed.add_row("total", *(_with_error(table, f"{column}{{}}") for column in columns), k, style="bold")
    return printed


def _ladder_table(ladder: xr.Dataset) -> Table:
    kind, lowest = ladder.attrs, ladder.zero_temperature.item()
    title = f"total, {kind['method']} ({kind['bound']}), base {kind['base']}; F_inf {lowest:.2f} nats"
    printed = Table("beta", "F, nats", "U, nats", "H, nats", "c", title=title)
    for beta in ladder.beta.values:
        row = ladder.sel(beta=beta)
        names = ("free_energy", "mean_energy", "entropy", "heat_capacity")
        printed.add_row(f"{beta:g}", *(_with_error(row, f"{name}{{}}") for name in names))
    return printed


def _with_error(row: xr.Dataset, name: str) -> str:
    value, error_name = row[name.format("")].item(), name.format("_error")
    error = row[error_name].item() if error_name in row else 0.0
    if math.isnan(error):
        return f"{value:.2f} ± ?"
    return f"{value:.2f} ± {error:.2f}" if error > 0 else f"{value:.2f}"
