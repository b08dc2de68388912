"""Network builders that models and guides share."""

from .circle_decoders import CurveDecoder, RadiiDecoder
from .classifier import ImageClassifier
from .mlp import mlp
from .per_class import ClassLinear

__all__ = ["ClassLinear", "CurveDecoder", "ImageClassifier", "RadiiDecoder", "mlp"]
