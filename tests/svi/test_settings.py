"""Arguments as plain JSON: equal for equal arguments, different for different ones, and free of addresses."""

import functools
import json
import random
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from pyro.infer import Trace_ELBO, TraceEnum_ELBO
from torch.utils.data import DataLoader

from pyrometer.inference.svi import SemiSupervised
from pyrometer.inference.svi.random_state import get_random_state, preserved_random_state, set_random_state
from pyrometer.inference.svi.settings import describe, differences, versions


@dataclass(frozen=True)
class Weighted:
    """An objective with a number and a function in it."""

    weight: float
    ramp: object = None


def ramp(progress: float) -> float:
    return progress


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (torch.tensor([1.0, 2.0]), torch.tensor([2.0, 1.0])),
        (torch.tensor([1.0, 2.0]), torch.tensor([1.0, 2.0], dtype=torch.float64)),
        (torch.tensor([[1, 2, 3, 4]]), torch.tensor([[1, 2], [3, 4]])),
        (functools.partial(torch.optim.Adam, lr=0.1), functools.partial(torch.optim.Adam, lr=0.2)),
        (functools.partial(torch.optim.Adam, lr=0.1), functools.partial(torch.optim.SGD, lr=0.1)),
        (Weighted(0.1), Weighted(0.2)),
        (Weighted(0.1, ramp), Weighted(0.1)),
        (Trace_ELBO(), TraceEnum_ELBO()),
        (Trace_ELBO(), Trace_ELBO(num_particles=3)),
        (DataLoader([1, 2]), DataLoader([1, 2], batch_size=2)),  # pyright: ignore[reportArgumentType]
        ({"a": 1}, {"a": 1, "b": None}),
        (torch.float32, torch.float64),
        (np.float64(1.5), np.float64(2.5)),
    ],
)
def test_different_arguments_are_told_apart(first: object, second: object) -> None:
    assert json.dumps(describe(first)) != json.dumps(describe(second))


@pytest.mark.parametrize(
    "make",
    [
        lambda: torch.arange(6.0).reshape(2, 3),
        lambda: torch.tensor([True, False]),
        lambda: torch.zeros(0, 2),
        lambda: torch.arange(6.0).reshape(2, 3).T.bfloat16(),
        lambda: functools.partial(torch.optim.Adam, lr=0.1, betas=(0.8, 0.9)),
        lambda: Weighted(0.1, lambda progress: progress),
        lambda: SemiSupervised(0.1, self_training=ramp),
        lambda: Trace_ELBO(),
        lambda: torch.nn.Linear(2, 3),
        lambda: DataLoader([1, 2]),  # pyright: ignore[reportArgumentType]
        lambda: {"a": [1, None, "x"], "b": ramp},
    ],
)
def test_equal_arguments_have_one_description_without_an_address(make: functools.partial) -> None:
    assert describe(make()) == describe(make()) == json.loads(json.dumps(describe(make())))
    assert "0x" not in json.dumps(describe(make()))


def test_a_used_elbo_is_described_as_a_fresh_one() -> None:
    used = TraceEnum_ELBO()
    used.max_plate_nesting = 2  # found out at the first step
    assert describe(used) == describe(TraceEnum_ELBO())


def test_every_difference_is_listed_where_it_is() -> None:
    old = {"seed": 1, "data": {"x": "a", "y": "b"}, "gone": 3}
    new = {"seed": 2, "data": {"x": "a", "y": "c"}, "came": None}
    assert differences(old, new) == ["seed: 1 -> 2", "data.y: 'b' -> 'c'", "gone: 3 -> None"]
    assert differences(old, old) == []


def test_versions_name_what_numbers_depend_on() -> None:
    assert versions()["torch"] == torch.__version__.partition("+")[0] or versions()["torch"] == torch.__version__


def draw() -> tuple[float, float, float]:
    return torch.rand(()).item(), np.random.rand(), random.random()  # noqa: NPY002 - the global generator is meant


def test_a_random_state_comes_back_even_from_a_file(tmp_path: object) -> None:
    path = f"{tmp_path}/state.pt"
    np.random.standard_normal()  # noqa: NPY002 - leaves the second number of a pair in the state
    torch.save(get_random_state(), path)
    first = draw(), np.random.standard_normal()  # noqa: NPY002
    set_random_state(torch.load(path, weights_only=True))
    assert (draw(), np.random.standard_normal()) == first  # noqa: NPY002


def test_what_is_drawn_inside_is_not_missed_outside() -> None:
    set_random_state(state := get_random_state())
    first = draw()
    set_random_state(state)
    with preserved_random_state():
        assert draw() == first
    assert draw() == first
