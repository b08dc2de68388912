"""What one process tells another: plain types and tensors as bytes, errors as plain types; never code."""

import builtins
import io
from typing import Any

import torch
from torch import Tensor

from .nonfinite import NonFiniteLossError, NonFiniteWeightsError

__all__ = ["as_plain", "from_plain", "pack", "told_error", "unpack"]

TOLD = "Raised first in process "


def pack(value: Any) -> Tensor:
    """Plain types and tensors as bytes."""
    file = io.BytesIO()
    torch.save(value, file)
    return torch.frombuffer(bytearray(file.getvalue()), dtype=torch.uint8)


def unpack(packed: Tensor) -> Any:
    """What :func:`pack` was given, on the CPU.

    Example:
        >>> unpack(pack({"seed": 3, "rows": torch.arange(2)}))
        {'seed': 3, 'rows': tensor([0, 1])}
    """
    return torch.load(io.BytesIO(packed.cpu().numpy().tobytes()), map_location="cpu", weights_only=True)


def as_plain(error: BaseException) -> dict[str, Any]:
    """An error as names, numbers and text."""
    fields: dict[str, Any] = {}
    if isinstance(error, NonFiniteLossError):
        fields = {"epoch": error.epoch, "batch": error.batch, "site": error.site, "rows": error.rows}
    return {"kind": type(error).__name__, "message": str(error), **fields}


def from_plain(plain: dict[str, Any], rank: int) -> BaseException:
    """The error that :func:`as_plain` had in the process ``rank``, with a note that says so.

    Its type is the same where that is one of Python's or ours, and else RuntimeError.

    Example:
        >>> error = from_plain(as_plain(ValueError("scale must be positive.")), rank=1)
        >>> error, error.__notes__
        (ValueError('scale must be positive.'), ['Raised first in process 1.'])
    """
    error = _rebuilt(plain)
    error.add_note(f"{TOLD}{rank}.")
    return error


def told_error(error: BaseException | None) -> BaseException | None:
    """The error of another process, which says so itself, where this is it or is caused by it; else None."""
    while error is not None:
        if any(note.startswith(TOLD) for note in getattr(error, "__notes__", [])):
            return error
        error = error.__cause__  # Pyro raises a new error from that of a program
    return None


def _rebuilt(plain: dict[str, Any]) -> BaseException:
    kind, message, fields = plain["kind"], plain["message"], {**plain}
    del fields["kind"], fields["message"]
    if kind == "NonFiniteLossError":
        return NonFiniteLossError(message, **fields)
    if kind == "NonFiniteWeightsError":
        return NonFiniteWeightsError(message)
    python = getattr(builtins, kind, None)
    if isinstance(python, type) and issubclass(python, BaseException):
        try:
            return python(message)
        except TypeError:  # those that are made of more than a message, such as UnicodeDecodeError
            pass
    return RuntimeError(f"{kind}: {message}")
