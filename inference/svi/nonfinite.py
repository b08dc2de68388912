"""A loss that is not finite: which site made it so, and in which rows of the data."""

from collections.abc import Callable
from typing import Any

import torch
from pyro.distributions.util import scale_and_mask
from pyro.poutine.messenger import Messenger
from torch import Tensor

from .data import Batch, parts, row_count
from .pair import Pair

__all__ = ["NonFiniteLossError", "NonFiniteWeightsError", "explain"]


class NonFiniteLossError(ArithmeticError):
    """The loss of a batch is NaN or infinite. The weights are those from before its step.

    Attributes:
        epoch: the epoch, from 1.
        batch: the batch in its epoch, from 1.
        site: the first site whose log-probability is not finite, as "model: name" or "guide: name"; None if none is.
        rows: the rows of the data in which it is not: by stream, or under "data"; empty where nobody knows them.
    """

    def __init__(self, message: str, epoch: int, batch: int, site: str | None, rows: dict[str, list[int]]) -> None:
        super().__init__(message)
        self.epoch, self.batch, self.site, self.rows = epoch, batch, site, rows


class NonFiniteWeightsError(ArithmeticError):
    """A weight is NaN or infinite after a step whose loss was finite; no checkpoint has it."""


def explain(
    pair: Pair, repeat: Callable[[], Any], batch: Batch, value: float, place: tuple[int, int], rows: dict[str, Tensor]
) -> NonFiniteLossError:
    """The error for a batch with the loss ``value``.

    Args:
        pair: what is trained.
        repeat: evaluates the loss of the batch again, with the same random numbers.
        batch: the batch.
        value: its loss.
        place: epoch and number of the batch, from 1.
        rows: by source, the rows of the data that the batch has.
    """
    where = f"the loss is {value} in epoch {place[0]}, batch {place[1]}"
    weight = pair.non_finite()
    if weight is not None:
        reason = f"the weight {weight} is not finite since the step before. Lower the learning rate or clip gradients."
        return NonFiniteLossError(f"{where}: {reason}", *place, None, {})
    witness = _find_site(pair, repeat)
    if witness.site is None:
        return NonFiniteLossError(f"{where}, though each site is finite: the objective made it.", *place, None, {})
    bad_rows = _rows(witness, batch, rows)
    listed = "; ".join(f"{source}: {_first_few(numbers)}" for source, numbers in bad_rows.items())
    reason = f"the log-probability of the site {witness.site} is not finite" + (
        f" in rows of {listed}" if listed else ""
    )
    return NonFiniteLossError(f"{where}: {reason}.", *place, witness.site, bad_rows)


class _Witness(Messenger):
    """Notes the first site whose log-probability is NaN or +inf, or else the first where it is -inf.

    The order of preference is there because -inf is no fault in an enumerated site: an impossible value has it.
    """

    def __init__(self) -> None:
        super().__init__()
        self.role = ""
        self.site: str | None = None
        self.certain = False
        self.bad = torch.zeros(())
        self.frames: tuple[Any, ...] = ()

    def _pyro_post_sample(self, msg: Any) -> None:
        if self.certain:
            return
        log_prob = torch.as_tensor(
            scale_and_mask(msg["fn"].log_prob(msg["value"], *msg["args"], **msg["kwargs"]), 1.0, msg["mask"])
        )
        bad = ~torch.isfinite(log_prob.detach())
        certain = bool((bad & (log_prob != -torch.inf)).any())
        if certain or (self.site is None and bad.any()):
            self.site, self.certain = f"{self.role}: {msg['name']}", certain
            self.bad, self.frames = bad, msg["cond_indep_stack"]


class _Watched:
    """A program that runs before the eyes of a witness, and has all attributes of the original."""

    def __init__(self, program: Callable, role: str, witness: _Witness) -> None:
        self.program, self.role, self.witness = program, role, witness

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        self.witness.role = self.role
        with self.witness:
            return self.program(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.program, name)


def _find_site(pair: Pair, repeat: Callable[[], Any]) -> _Witness:
    witness, (model, guide) = _Witness(), pair.programs
    pair.programs = _Watched(model, "model", witness), _Watched(guide, "guide", witness)
    try:
        repeat()
    finally:
        pair.programs = model, guide
    return witness


def _rows(witness: _Witness, batch: Batch, rows: dict[str, Tensor]) -> dict[str, list[int]]:
    """By source, the rows of the data that belong to the bad elements of a site: along the plate of the batch."""
    found: dict[str, list[int]] = {}
    for source, part in parts(batch).items():
        for frame in witness.frames:
            if source in rows and frame.dim is not None and frame.size == row_count(part):
                bad = witness.bad.expand(
                    torch.broadcast_shapes(witness.bad.shape, (frame.size, *[1] * (-frame.dim - 1)))
                )
                found[source] = rows[source][bad.movedim(frame.dim, 0).reshape(frame.size, -1).any(1).cpu()].tolist()
    return found


def _first_few(numbers: list[int]) -> str:
    return ", ".join(map(str, numbers[:10])) + (f" and {len(numbers) - 10} more" if len(numbers) > 10 else "")
