"""Stochastic variational inference: ``fit``, the objectives, and the check before the first step."""

from .fit import Fit, fit
from .marginalised import Marginalised
from .minimised import Minimised
from .monte_carlo import MonteCarlo
from .nonfinite import NonFiniteLossError, NonFiniteWeightsError
from .pair_checks import check
from .relaxed import Relaxed
from .run import add_to_summary, load_weights
from .semi_supervised import SemiSupervised
from .wake_sleep import WakeSleep

__all__ = [
    "Fit",
    "Marginalised",
    "Minimised",
    "MonteCarlo",
    "NonFiniteLossError",
    "NonFiniteWeightsError",
    "Relaxed",
    "SemiSupervised",
    "WakeSleep",
    "add_to_summary",
    "check",
    "fit",
    "load_weights",
]
