"""Neural guides q(z | x): Pyro programs that propose latents."""

from .angle import Angle, ConditionalAngle
from .auxiliary_encoder import AuxiliaryEncoder
from .digit_and_style import DigitAndStyle
from .flow_encoder import FlowEncoder
from .gaussian_encoder import GaussianEncoder
from .kind_and_code import KindAndCode
from .linear_gaussian import LinearGaussian
from .point_encoder import PointEncoder
from .responsibilities import Responsibilities
from .spline_flow import SplineFlow
from .wrapped_normal import WrappedNormal

__all__ = [
    "Angle",
    "AuxiliaryEncoder",
    "ConditionalAngle",
    "DigitAndStyle",
    "FlowEncoder",
    "GaussianEncoder",
    "KindAndCode",
    "LinearGaussian",
    "PointEncoder",
    "Responsibilities",
    "SplineFlow",
    "WrappedNormal",
]
