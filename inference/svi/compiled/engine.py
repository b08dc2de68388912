"""Which steps are compiled: the cache of graphs by the shape of a batch, and the reasons for doing without."""

import time
import warnings
from collections.abc import Mapping
from typing import Any

import pyro

from ...compiler import UnsafeCodeError
from ...energy.user_code import warn_caller
from ..data import Batch
from .budget import LARGE, SMALL, budget
from .build import Steps, as_graph, compiled
from .products import Products
from .self_check import Incomparable, Mismatch, Plain, self_check
from .signature import signature
from .traceable import NotTraceable

__all__ = ["Engine"]

SEEN_BEFORE_COMPILING = 50
"""Batches of a further shape (a last one that is short, say) before it gets a graph of its own."""
STEPS_BETWEEN_CHECKS = 40


class Engine:
    """Takes steps in compiled form where it can, and says for each batch whether it can.

    Graphs depend on the order and the shapes of batches alone, never on the clock, so that a run that is resumed takes
    the same ones.

    Args:
        plain: what is trained, and how a plain step is taken.
        products: who takes the matrix products of graphs.
        repeats: whether every batch is the very same.
        tolerance: see ``self_check``.
        asked: whether somebody asked for compiled steps; then a refusal is a warning.
    """

    def __init__(
        self,
        plain: Plain,
        products: Products,
        repeats: bool,
        tolerance: float = 1e-4,
        asked: bool = True,
    ) -> None:
        self.plain, self.repeats = plain, repeats
        self.products: Products = products
        self.tolerance, self.asked, self.most = tolerance, asked, LARGE if asked else SMALL
        self.graphs: dict[str, Steps | None] = {}
        self.seen: dict[str, int] = {}
        self.known: list[str] = []
        self.events: list[str] = []
        self.seconds, self.refused = 0.0, ""
        self._since_check, self._doubted = 0, False
        self._last: tuple[Batch, Steps | None] | None = None

    def steps(self, batch: Batch, numbers: Mapping[str, float]) -> Steps | None:
        """What takes steps on such batches; None: they are to be taken plainly."""
        self._since_check += 1
        if self._last is not None and self._last[0] is batch and not self._doubted:
            return self._last[1]
        key = self._key(batch)
        if key not in self.graphs:
            self.seen[key] = self.seen.get(key, 0) + 1
            if not self._is_due(key):
                return None
            self.graphs[key] = self._built(batch, numbers)
            self.known = list(dict.fromkeys([*self.known, key]))
        elif self._doubted:
            self._check_again(self.graphs[key], batch, numbers)
        self._last = batch, self.graphs.get(key)
        return self._last[1]

    def doubt(self) -> None:
        """Something may have changed the program: after some steps, check again that it does what its graph does.

        Where parameters have been moved in memory graphs are made anew.
        """
        if not self._is_in_place():
            self.graphs, self._last = {}, None
        self._doubted = self._since_check >= STEPS_BETWEEN_CHECKS

    def state(self) -> dict[str, Any]:
        """Which shapes have been met how often, and which have a graph: a resumed run goes on with the same."""
        return {"seen": dict(self.seen), "known": list(self.known), "products": self.products, "most": self.most}

    def load(self, state: dict[str, Any]) -> None:
        """Go on from a state."""
        self.seen, self.known, self.products = dict(state["seen"]), list(state["known"]), state["products"]
        self.most = state.get("most", self.most)

    def report(self) -> str:
        """What was done, in one line."""
        if self.refused:
            return f"plain steps: {self.refused}"
        if not self.events:
            return "plain steps"

        threads = [steps.threads for steps in self.graphs.values() if steps is not None]
        most = max(threads, default=1)
        return "; ".join(self.events) + f" ({self.seconds:.0f} s, {most} thread{'s' * (most > 1)})"

    def refuse(self, reason: str) -> None:
        """Take plain steps, and say why."""
        self.refused = reason
        self._say(f"plain steps, since {reason}")

    def _key(self, batch: Batch) -> str:
        return signature(batch)

    def _is_in_place(self) -> bool:
        return all(steps.step.is_in_place() for steps in self.graphs.values() if steps is not None)

    def _is_due(self, key: str) -> bool:
        if self.refused:
            return False
        return key in self.known or not self.known or self.seen[key] > SEEN_BEFORE_COMPILING

    def _check_again(self, steps: Steps | None, batch: Batch, numbers: Mapping[str, float]) -> None:
        self._since_check, self._doubted = 0, False
        if steps is None:
            return
        try:
            self._checked(steps, batch, numbers)
        except Incomparable:
            return  # no sign of a change: it was compared before the first compiled step, and the losses agree
        except Mismatch as error:
            self.refused = f"the program has changed since it was compiled: {error}"
            self.graphs, self._last = {}, None
            warn_caller(f"fit takes plain steps from now on: {self.refused}.")

    def _built(self, batch: Batch, numbers: Mapping[str, float]) -> Steps | None:
        began, optimizer = time.perf_counter(), self.plain.optimizer
        states = {parameter: dict(state) for parameter, state in optimizer.state.items()}
        with budget(self.most), pyro.validation_enabled(False), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of torch's compiler, about itself
            try:
                steps, how = self._checked(self._compiled(batch, numbers), batch, numbers), "compiled"
            except (NotTraceable, Mismatch, UnsafeCodeError) as error:
                steps, how = None, f"plain steps, since {error}"
            except Exception as error:
                steps, how = self._without_compiler(error, batch, numbers)
        if steps is None or steps.step.groups is None:
            for parameter, state in optimizer.state.items():
                _replace(state, states.get(parameter, {}))  # what was made ready for a graph, torch does in its own way
        self.seconds += time.perf_counter() - began
        if steps is None or how != "compiled":
            self._say(how, whoever_asked=steps is not None)  # a compiler that fails can be helped
        if steps is None and not self.graphs:
            self.refused = how.removeprefix("plain steps, since ")
        self.events.append(_words(how, steps))
        return steps

    def _compiled(self, batch: Batch, numbers: Mapping[str, float]) -> Steps:
        return compiled(self.plain.pair, self.plain.optimizer, batch, numbers, self.products, self.repeats)

    def _without_compiler(
        self, failure: Exception, batch: Batch, numbers: Mapping[str, float]
    ) -> tuple[Steps | None, str]:
        reason = f"{type(failure).__name__}: {(str(failure).splitlines() or [''])[0]}"
        try:
            steps = self._checked(as_graph(self.plain.pair, batch, numbers, self.products), batch, numbers)
        except Exception:
            return None, f"plain steps, since the step cannot be captured ({reason})"
        return steps, f"a graph without a compiler, which failed ({reason})"

    def _checked(self, steps: Steps, batch: Batch, numbers: Mapping[str, float]) -> Steps:
        self_check(self.plain, steps, batch, numbers, self.tolerance)
        return steps

    def _say(self, reason: str, whoever_asked: bool = False) -> None:
        if self.asked or whoever_asked:
            warn_caller(f"fit takes {reason}.")


def _replace(state: dict[str, Any], by: dict[str, Any]) -> None:
    state.clear()
    state.update(by)


def _words(how: str, steps: Steps | None) -> str:
    if steps is None or how != "compiled":
        return how
    rule = "the optimizer in the graph" if steps.step.groups is not None else "the optimizer beside it"
    return f"compiled with {rule}" + (f", up to {steps.most} steps a call" if steps.most > 1 else "")
