"""Stochastic variational inference: ``fit``, the objectives, and the check before the first step."""

from .decomposed import Decomposed
from .fit import Fit, fit
from .marginalised import Marginalised
from .minimised import Minimised
from .monte_carlo import MonteCarlo
from .nonfinite import NonFiniteLossError, NonFiniteWeightsError
from .pair_checks import check
from .relaxed import Relaxed
from .run import add_to_summary, load_weights
from .semi_supervised import SemiSupervised
from .summed_label import SummedLabel
from .wake_sleep import WakeSleep

__all__ = [
    "Decomposed",
    "Fit",
    "Marginalised",
    "Minimised",
    "MonteCarlo",
    "NonFiniteLossError",
    "NonFiniteWeightsError",
    "Relaxed",
    "SemiSupervised",
    "SummedLabel",
    "WakeSleep",
    "add_to_summary",
    "check",
    "fit",
    "load_weights",
]
