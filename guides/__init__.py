"""Neural guides q(z | x): Pyro programs that propose latents."""

from .digit_and_style import DigitAndStyle
from .gaussian_encoder import GaussianEncoder
from .linear_gaussian import LinearGaussian
from .responsibilities import Responsibilities

__all__ = ["DigitAndStyle", "GaussianEncoder", "LinearGaussian", "Responsibilities"]
