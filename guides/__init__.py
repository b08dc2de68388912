"""Neural guides q(z | x): Pyro programs that propose latents."""

from .digit_and_style import DigitAndStyle
from .linear_gaussian import LinearGaussian
from .responsibilities import Responsibilities

__all__ = ["DigitAndStyle", "LinearGaussian", "Responsibilities"]
