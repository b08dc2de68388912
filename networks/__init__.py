"""Network builders that models and guides share."""

from .classifier import ImageClassifier
from .mlp import mlp
from .per_class import ClassLinear

__all__ = ["ClassLinear", "ImageClassifier", "mlp"]
