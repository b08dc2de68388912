"""Files that are either whole or not there, and checkpoints made of them."""

import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import torch

__all__ = ["load_checkpoint", "load_tensors", "newest", "save_checkpoint", "save_tensors", "write_atomically"]

KEPT = 2
"""Checkpoints kept: the newest, and one to go on from if that one is damaged."""


def write_atomically(path: Path, write: Callable[[BinaryIO], Any]) -> None:
    """Write a file beside its place and move it there, so that a reader finds the old file or the new one, whole."""
    temporary = path.with_name(path.name + ".tmp")
    try:
        with temporary.open("wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def save_tensors(path: Path, state: dict[str, Any]) -> None:
    """Save plain types and tensors."""
    write_atomically(path, lambda file: torch.save(state, file))


def load_tensors(path: Path, remedy: str) -> dict[str, Any]:
    """Load what :func:`save_tensors` wrote, onto the CPU, every byte checked.

    Raises:
        ValueError: the file is truncated or damaged; the message names it and ends with ``remedy``.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
        if damaged is not None:
            raise zipfile.BadZipFile(f"{damaged} has a wrong checksum")
        return torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise
    except Exception as error:
        raise ValueError(f"{path} is truncated or damaged ({type(error).__name__}: {error}). {remedy}") from error


def save_checkpoint(folder: Path, epoch: int, state: dict[str, Any]) -> None:
    """Save the state after ``epoch`` epochs and remove all but the last ones."""
    save_tensors(folder / f"{epoch:04d}.pt", state)
    for old in _by_epoch(folder)[:-KEPT]:
        old.unlink()


def newest(folder: Path) -> Path | None:
    """The checkpoint with the most epochs."""
    return next(reversed(_by_epoch(folder)), None)


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Load a checkpoint; where it is damaged, the error names the one to go on from."""
    others = [other for other in _by_epoch(path.parent) if other != path]
    back = f"go on from {others[-1].name}, the one before" if others else "start anew; no other checkpoint is there"
    return load_tensors(path, f"Delete it to {back}.")


def _by_epoch(folder: Path) -> list[Path]:
    return sorted((path for path in folder.glob("*.pt") if path.stem.isdigit()), key=lambda path: int(path.stem))
