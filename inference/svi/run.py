"""The directory of a run: settings, checkpoints, metrics, weights and a summary."""

import csv
import io
import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from .checkpoint import load_checkpoint, load_tensors, newest, save_checkpoint, save_tensors, write_atomically
from .objective import as_objective
from .pair import Pair, Weights
from .pair_checks import no_guide, traces
from .settings import describe, differences, versions

__all__ = ["Row", "RunDirectory", "add_to_summary", "load_weights", "open_directory"]

Row = dict[str, float]
Length = dict[str, int | None]


class RunDirectory:
    """The files of one training.

    * ``settings.json``: what the run is made of, and versions;
    * ``checkpoints/NNNN.pt``: everything after NNNN epochs, the last two;
    * ``metrics.csv`` and ``tensorboard/``: the history;
    * ``weights.pt`` and ``summary.json``: at the end.

    Args:
        path: the folder; nothing is written before :meth:`open`.
        stored: the settings of the run in it, or None for a new one.
    """

    def __init__(self, path: Path, stored: dict[str, Any] | None) -> None:
        self.path, self.checkpoints = path, path / "checkpoints"
        self.stored = stored
        self.settings: dict[str, Any] = {}
        self.rows_written = 0
        self.events: Any = None

    @property
    def seed(self) -> int | None:
        """The seed of the run in the folder."""
        return None if self.stored is None else self.stored["fit"]["seed"]

    @property
    def complete(self) -> bool:
        """Everything that a finished run has is there."""
        return (self.path / "weights.pt").exists() and (self.path / "summary.json").exists()

    def describe(self, arguments: dict[str, Any], settings: Mapping[str, Any] | None, length: Length) -> None:
        """Say what the run is made of, and how long it is to be.

        Raises:
            TypeError: ``settings`` are no plain JSON.
            ValueError: the run in the folder is made of something else; all differences are listed.
        """
        try:
            plain = json.loads(json.dumps(dict(settings or {})))
        except TypeError as error:
            raise TypeError(f"settings must be plain JSON, names with numbers, strings and lists: {error}.") from None
        self.settings = {"settings": plain, "fit": describe(arguments), **length}
        if self.stored is None:
            return
        lines = [line for part in ("settings", "fit") for line in differences(self.stored[part], self.settings[part])]
        if lines:
            raise ValueError(
                f"out={str(self.path)!r} holds a run with other settings (its -> asked for):\n  "
                + "\n  ".join(lines)
                + "\nPass the settings of that run to go on with it, or another folder for a new one."
            )

    def load(self, uses_progress: bool) -> dict[str, Any] | None:
        """The newest checkpoint, or None where there is none yet.

        Raises:
            ValueError: it is damaged, or the run cannot be made as long or as short as is asked for.
        """
        path = newest(self.checkpoints)
        if self.stored is None or path is None:
            return None
        state = load_checkpoint(path)
        before, asked = ({name: part[name] for name in ("epochs", "steps")} for part in (self.stored, self.settings))
        if before != asked:
            _check_new_length(
                state, f"the run was to have {before} and is asked to have {asked}, but", asked, uses_progress
            )
        return state

    def open(self, epoch: int) -> None:
        """Begin to write, with ``epoch`` epochs done."""
        from torch.utils.tensorboard import SummaryWriter

        self.path.mkdir(parents=True, exist_ok=True)
        for leftover in [*self.path.glob("*.tmp"), *self.checkpoints.glob("*.tmp")]:
            leftover.unlink()
        # Those of a finished run that is now made longer would no longer be true.
        for name in ("summary.json", "weights.pt"):
            (self.path / name).unlink(missing_ok=True)
        self._write_json("settings.json", {**self.settings, "versions": versions()})
        self.checkpoints.mkdir(exist_ok=True)
        self.rows_written = epoch
        self.events = SummaryWriter(str(self.path / "tensorboard"), purge_step=epoch + 1)

    def save(self, epoch: int, history: list[Row], state: dict[str, Any]) -> None:
        """Write metrics, then the checkpoint, so that no checkpoint is ahead of the metrics."""
        for row in history[self.rows_written :]:
            for name, value in row.items():
                if name != "epoch":
                    self.events.add_scalar(name, value, int(row["epoch"]))
        self.rows_written = len(history)
        self.events.flush()
        self._write("metrics.csv", _as_csv(history))
        save_checkpoint(self.checkpoints, epoch, {**state, "history": history})

    def finish(self, weights: Weights, summary: dict[str, Any]) -> None:
        """Write the weights and the summary."""
        save_tensors(self.path / "weights.pt", weights)
        self._write_json("summary.json", {**summary, "versions": versions()})

    def close(self) -> None:
        """Close what is open."""
        if self.events is not None:
            self.events.close()

    def _write_json(self, name: str, content: dict[str, Any]) -> None:
        self._write(name, json.dumps(content, indent=2) + "\n")

    def _write(self, name: str, text: str) -> None:
        write_atomically(self.path / name, lambda file: file.write(text.encode()))


def open_directory(out: str | Path | None, resume: bool) -> RunDirectory | None:
    """The directory of a new run, or of the one that is to be resumed. Reads, and writes nothing.

    Raises:
        FileExistsError: there is a run and ``resume`` is False, or there is something else.
        ValueError: there is nothing to resume without ``out``, or the settings there cannot be read.
    """
    if out is None:
        if resume:
            raise ValueError("resume=True needs out, the folder of the run that is to be continued.")
        return None
    path, settings = Path(out), Path(out) / "settings.json"
    if settings.exists():
        if not resume:
            raise FileExistsError(f"out={str(out)!r} already holds a run: pass resume=True, or another folder.")
        try:
            return RunDirectory(path, json.loads(settings.read_text()))
        except ValueError as error:
            raise ValueError(f"{settings} cannot be read ({error}): restore it, or pass another folder.") from None
    if path.exists() and (not path.is_dir() or any(entry.suffix != ".tmp" for entry in path.iterdir())):
        raise FileExistsError(f"out={str(out)!r} is not empty and holds no run: pass a new or an empty folder.")
    return RunDirectory(path, None)


def load_weights(out: str | Path, model: Callable, guide: Callable | None, **batch: Any) -> None:
    """Put the weights of a run into a model and a guide; of an unfinished run, those of its newest checkpoint.

    Args:
        out: the folder of the run.
        model: p(x, z), built as it was for the run.
        guide: q(z | x), likewise; None where there was none.
        **batch: a batch of data, for programs that make their parameters at the first call: an AutoGuide, or plain
            functions with ``pyro.param``.

    Raises:
        FileNotFoundError: there are no weights in the folder.
        ValueError: the file is damaged, or the weights are those of another model or guide.
    """
    path, checkpoint = Path(out) / "weights.pt", newest(Path(out) / "checkpoints")
    if path.exists():
        weights = load_tensors(path, "Delete it and resume the run to write it again.")
    elif checkpoint is not None:
        weights = load_checkpoint(checkpoint)["weights"]
    else:
        raise FileNotFoundError(f"out={str(out)!r} must be the folder of a run, but has no weights and no checkpoint.")
    pair = Pair(model, guide or no_guide, as_objective(None))
    if batch:
        for trace in traces(*pair.programs, **batch):
            pair.note_parameters(trace)
    pair.load(weights)


def add_to_summary(out: str | Path, values: Mapping[str, Any]) -> dict[str, Any]:
    """Add what was measured after the training to the summary of a finished run, and give the whole."""
    path = Path(out) / "summary.json"
    summary = {**json.loads(path.read_text()), **values}
    text = json.dumps(summary, indent=2) + "\n"
    write_atomically(path, lambda file: file.write(text.encode()))
    return summary


def _check_new_length(state: dict[str, Any], change: str, asked: Length, uses_progress: bool) -> None:
    if uses_progress:
        raise ValueError(
            f"{change} its schedule or objective depends on how much of the training is done, so that it would have "
            "been another from the start: ask for the same length, or start a new run."
        )
    if not state["whole"]:
        raise ValueError(f"{change} it ended in the middle of an epoch: start a new run.")
    if (asked["epochs"] or math.inf) < state["epoch"] or (asked["steps"] or math.inf) < state["step"]:
        raise ValueError(f"{change} {state['epoch']} epochs, {state['step']} steps are done: ask for no less.")


def _as_csv(history: list[Row]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(dict.fromkeys(name for row in history for name in row)), lineterminator="\n")
    writer.writeheader()
    writer.writerows(history)
    return text.getvalue()
