"""The guard around every test notices what a test leaves behind."""

import runpy
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pyro
import pyro.distributions as dist
import pytest
import torch

GUARD: Callable[[], AbstractContextManager[None]] = runpy.run_path(str(Path(__file__).with_name("conftest.py")))[
    "nothing_left_behind"
]


def test_a_parameter_in_the_global_store_is_named_and_removed() -> None:
    with pytest.raises(AssertionError, match="forgotten_scale"), GUARD():
        pyro.param("forgotten_scale", torch.tensor(0.3))
    assert not list(pyro.get_param_store())


def test_a_changed_default_dtype_is_noticed() -> None:
    try:
        with pytest.raises(AssertionError, match=r"default dtype.*float64.*float32"), GUARD():
            torch.set_default_dtype(torch.float64)
    finally:
        torch.set_default_dtype(torch.float32)


def test_a_grad_mode_left_off_is_noticed() -> None:
    try:
        with pytest.raises(AssertionError, match="grad mode"), GUARD():
            torch.set_grad_enabled(False)
    finally:
        torch.set_grad_enabled(True)


def test_pyro_validates_inside_a_test() -> None:
    with pytest.raises(ValueError, match="scale"):
        dist.Normal(0.0, -2.0)


def test_every_test_starts_from_the_same_seed() -> None:
    first = torch.rand(3)
    pyro.set_rng_seed(20260101)
    assert torch.equal(first, torch.rand(3))
