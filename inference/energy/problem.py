"""What every free-energy method is asked: a program, its data, a temperature, a measure, and what is held fixed."""

from collections.abc import Mapping
from typing import NamedTuple

from torch import Tensor

from .base_measure import Base
from .vectorize import Program

__all__ = ["Problem"]


class Problem(NamedTuple):
    """F_beta of a program at its data, integrated over the latents that are not given, by a base measure."""

    program: Program
    beta: float
    base: Base
    given: Mapping[str, Tensor]

    @property
    def free(self) -> list[str]:
        """Names of the latents that are integrated."""
        return [name for name in self.program.structure.latents if name not in self.given]

    @property
    def discrete(self) -> bool:
        """Whether every one of them is discrete."""
        return all(self.program.structure.sites[name].discrete for name in self.free)
