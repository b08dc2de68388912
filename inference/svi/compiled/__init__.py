"""Whole steps of training as compiled graphs: captured from the programs as they are, improved, compiled, checked.

The way of a step: signature -> capture (traceable) -> factored_linear -> noise -> one_step (update_rule) ->
single_step or loop -> self_check -> engine, which the loop of a training asks.
"""

from .engine import Engine

__all__ = ["Engine"]
