"""Energy views that remember from step to step how draws are vectorised, which is found out by comparing."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakKeyDictionary

from ..energy import EnergyView

__all__ = ["KeptViews"]


@dataclass(frozen=True)
class KeptViews:
    """What was found out of each program, for as long as the program lives."""

    found: WeakKeyDictionary[Callable, tuple[dict, dict]] = field(default_factory=WeakKeyDictionary)

    def view(self, program: Any, plate: str | None) -> EnergyView:
        """A view of the program that knows what earlier ones have found out."""
        view = EnergyView(program, plate)
        view._vectorization, view._refused = self.found.setdefault(program, ({}, {}))
        return view
