"""Neural guides q(z | x): Pyro programs that propose latents."""

from .angle import Angle, ConditionalAngle
from .digit_and_style import DigitAndStyle
from .gaussian_encoder import GaussianEncoder
from .linear_gaussian import LinearGaussian
from .point_encoder import PointEncoder
from .responsibilities import Responsibilities
from .wrapped_normal import WrappedNormal

__all__ = [
    "Angle",
    "ConditionalAngle",
    "DigitAndStyle",
    "GaussianEncoder",
    "LinearGaussian",
    "PointEncoder",
    "Responsibilities",
    "WrappedNormal",
]
