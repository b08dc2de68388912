"""What a score-function term remembers of earlier steps: decaying averages of a cost, which Pyro keeps in its store.

Pyro puts a new tensor into the store at each step. Here it writes into the one that is there, so that a trial step can
be undone, a checkpoint has the average, and a graph of the step reads and writes it.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import pyro
import torch
from pyro.params.param_store import ParamStoreDict
from torch import Tensor
from torch.distributions import constraints

__all__ = ["averages_in_place", "decaying_averages", "preserved_averages"]

PREFIX = "__baseline_avg_downstream_cost_"


@contextmanager
def averages_in_place() -> Iterator[None]:
    """A block in which an average is written to, and is no parameter that could be trained; what is read is a copy."""
    replace, get = ParamStoreDict.__setitem__, ParamStoreDict.__getitem__

    def put(store: Any, name: str, value: Tensor) -> None:
        if not name.startswith(PREFIX):
            replace(store, name, value)
            return
        held = store._params.get(name)
        if held is not None and held.shape == value.shape and not held.requires_grad:
            with torch.no_grad():
                held.copy_(value)
            return
        store._constraints.setdefault(name, constraints.real)
        store._params[name] = value.detach().clone()
        store._param_to_name[store._params[name]] = name

    def copied(store: Any, name: str) -> Tensor:
        value = get(store, name)
        return value.detach().clone() if name.startswith(PREFIX) else value  # it outlives the write

    with patch.object(ParamStoreDict, "__setitem__", put), patch.object(ParamStoreDict, "__getitem__", copied):
        yield


def decaying_averages() -> dict[str, Tensor]:
    """The averages by name."""
    store = pyro.get_param_store()._params
    return {name: tensor for name, tensor in store.items() if name.startswith(PREFIX) and not tensor.requires_grad}


@contextmanager
def preserved_averages() -> Iterator[None]:
    """Whatever runs inside, averages keep their values; one that is made inside is 0, as at the start of a training."""
    kept = {name: tensor.clone() for name, tensor in decaying_averages().items()}
    try:
        yield
    finally:
        for name, tensor in decaying_averages().items():
            if name in kept and kept[name].shape == tensor.shape:
                tensor.copy_(kept[name])
            else:
                tensor.zero_()
