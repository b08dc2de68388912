"""Running a recipe, and opening what a run left: the engine under the command line, the demo and the benchmarks."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyro
import torch

from ..inference.energy.elbo_gap import elbo_gap
from ..inference.energy.guide_draws import Guide
from ..inference.energy.log_weights import PointMass
from ..inference.svi import Fit, add_to_summary, load_weights
from ..inference.svi.processes import is_first_process
from ..inference.svi.random_state import preserved_random_state
from .code_version import changed_code, code_of
from .recipe import Recipe, find, typed_settings

__all__ = ["OpenRun", "draw_pictures", "open_run", "run"]

CODE = "code.json"
"""Of a run's folder: the checksums of the files that define recipe, model and guide."""


@dataclass(frozen=True)
class OpenRun:
    """A recipe with the weights that a run reached, the run's summary, and its settings.

    ``changed`` names the modules of recipe, model and guide that are not what they were when the run was made.
    """

    name: str
    recipe: Recipe
    path: Path
    summary: dict[str, Any]
    settings: dict[str, Any]
    changed: list[str]


def run(
    name: str,
    settings: Mapping[str, Any],
    out: Path,
    *,
    epochs: int | None = None,
    resume: bool = False,
    progress: bool = True,
    compile: bool | str = "auto",
    precision: str = "32-true",
) -> tuple[Recipe, Fit, dict[str, Any]]:
    """Builds the recipe, trains it in the folder ``out``, and writes what was reached and its pictures.

    Of several processes that torchrun has started, all train, and the first measures and writes; to the others nothing
    is known to be reached.

    Args:
        name: a recipe's name or the path of a file that defines one.
        settings: those of the recipe that differ from its defaults; ``seed`` also seeds weights and training.
        out: the run's folder: new, or with ``resume`` that of the same recipe with the same settings.
        epochs: passes over the data, where other than the recipe's.
        resume: continue an interrupted run.
        progress: show a bar.
        compile: whether steps are compiled, as ``fit`` has it.
        precision: likewise.
    """
    settings = typed_settings(name, settings)
    seed = int(settings.get("seed", 0))
    with preserved_random_state():
        pyro.set_rng_seed(seed)
        recipe = find(name)(**settings)
        result = recipe.fit(
            epochs,
            seed=seed,
            out=out,
            resume=resume,
            settings={"recipe": name, **settings},
            progress=progress,
            compile=compile,
            precision=precision,
        )
        summary: dict[str, Any] = {}
        if is_first_process():
            (out / CODE).write_text(json.dumps(_code(name, recipe), indent=2))
            summary = add_to_summary(out, _reached(recipe))
            draw_pictures(recipe, out)
    return recipe, result, summary


def draw_pictures(recipe: Recipe, out: Path) -> list[Path]:
    """Draws the recipe's pictures into ``out/pictures``; returns their paths."""
    paths = {out / "pictures" / f"{name}.png": draw for name, draw in (recipe.pictures or {}).items()}
    for path, draw in paths.items():
        path.parent.mkdir(exist_ok=True)
        draw(recipe).savefig(path, dpi=150)
    return list(paths)


def open_run(path: Path) -> OpenRun:
    """The recipe and the weights of a run's folder.

    Raises:
        ValueError: if the folder holds no run, or one that was not made from a recipe.
    """
    settings_file = path / "settings.json"
    if not settings_file.is_file():
        raise ValueError(f"{str(path)!r} is no run: it has no settings.json; make one with `pyrometer fit`.")
    settings = json.loads(settings_file.read_text())["settings"]
    name = settings.pop("recipe", None)
    if name is None:
        raise ValueError(f"{str(path)!r} was not made from a recipe; load its weights with pyrometer.load_weights.")
    recipe = find(name)(**settings)
    then = json.loads((path / CODE).read_text()) if (path / CODE).is_file() else {}
    changed = changed_code(then, _code(name, recipe))
    batch = {key: value[:2] for key, value in recipe.held_out.items()}
    try:
        load_weights(path, recipe.model, recipe.guide, **batch)
    except (ValueError, RuntimeError) as error:
        if not changed:
            raise
        raise ValueError(
            f"the weights of {str(path)!r} do not fit, and the code of {changed} has changed since: go back to it, or "
            f"train anew. ({error})"
        ) from error
    for program in (recipe.model, recipe.guide):
        if isinstance(program, torch.nn.Module):
            program.eval()
    summary_file = path / "summary.json"
    summary = json.loads(summary_file.read_text()) if summary_file.exists() else {}
    return OpenRun(name, recipe, path, summary, settings, changed)


def _code(name: str, recipe: Recipe) -> dict[str, str]:
    return code_of(find(name), recipe.model, recipe.guide)


def _reached(recipe: Recipe, data: int = 200, draws: int = 500) -> dict[str, Any]:
    """F_1 and the ELBO in nats a datum, on held-out data, with their errors; and the recipe's own scores."""
    energies = _energies(recipe, data, draws)
    return energies | dict(recipe.score(recipe.model, recipe.guide) if recipe.score else {})


def _energies(recipe: Recipe, data: int, draws: int) -> dict[str, Any]:
    view, count = recipe.view(data), len(next(iter(recipe.first(data).values())))
    try:
        table = elbo_gap(view, recipe.guide, draws)
    except PointMass:  # a point has an energy, and neither an ELBO nor weights
        point = Guide(recipe.guide, view.plate, *view.program.call, given={}).draw(1).latents
        with torch.no_grad():
            return {"energy": view.energy(point).item() / count, "held_out": count}
    energies = {
        "free_energy": table.free_energy.item() / count,
        "free_energy_error": table.free_energy_error.item() / count,
        "free_energy_kind": table.attrs["bound"],
        "elbo": -table.negative_elbo.item() / count,
        "elbo_error": table.negative_elbo_error.item() / count,
        "held_out": count,
    }
    if "pareto_k" in table:
        # Above about 0.7 the estimate of F_1 is not reliable, and its error too small.
        energies["free_energy_pareto_k"] = float(table.pareto_k.max())
    return energies
