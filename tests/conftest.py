"""What holds around every test: seeds, Pyro's validation, and that the test leaves no global state behind."""

from collections.abc import Iterator
from contextlib import contextmanager

import matplotlib as mpl
import numpy as np
import pyro
import pytest
import torch
from hypothesis import settings

import pyrometer  # noqa: F401  (its import settles module_local_params, before any test makes a Pyro module)

mpl.use("Agg")
# The same examples at every run, and no time limit for one: a busy machine is no failure.
settings.register_profile("pyrometer", deadline=None, derandomize=True)
settings.load_profile("pyrometer")

SEED = 20260101


@pytest.fixture(autouse=True)
def seeded() -> None:
    """Every test draws the same numbers, whichever ran before it."""
    pyro.set_rng_seed(SEED)  # Python's, NumPy's and torch's


@pytest.fixture(autouse=True)
def guarded() -> Iterator[None]:
    """Pyro checks shapes, supports and parameters, and nothing global outlives the test."""
    with pyro.validation_enabled(True), nothing_left_behind():
        yield


@pytest.fixture(autouse=True)
def figures_closed() -> Iterator[None]:
    """Figures do not pile up in matplotlib's own global list."""
    yield
    from matplotlib import pyplot  # here, since most test files draw nothing and the import takes a second

    pyplot.close("all")


@pytest.fixture
def compiler() -> None:
    """The test needs torch's own compiler, and with it one of C++."""
    from torch._inductor.cpp_builder import get_cpp_compiler  # here, since few tests do, and the import takes seconds
    from torch._inductor.exc import InvalidCxxCompiler

    try:
        get_cpp_compiler()
    except InvalidCxxCompiler:
        pytest.skip("no C++ compiler is there")


@contextmanager
def nothing_left_behind() -> Iterator[None]:
    """Fails where the block fills Pyro's store or changes a global setting of torch, NumPy or Pyro."""
    before = global_state()
    yield
    stored = sorted(pyro.get_param_store())
    pyro.clear_param_store()  # else every later test would fail for this one
    changed = {name: (value, before[name]) for name, value in global_state().items() if value != before[name]}
    assert not stored, f"parameters were left in Pyro's global store: {stored}"
    assert not changed, f"global settings were changed, shown as (now, before): {changed}"


def global_state() -> dict[str, object]:
    """Every setting that the library must leave as it found it."""
    return {
        "torch default dtype": torch.get_default_dtype(),
        "torch default device": torch.get_default_device(),
        "torch grad mode": torch.is_grad_enabled(),
        "torch inference mode": torch.is_inference_mode_enabled(),
        "torch deterministic algorithms": torch.are_deterministic_algorithms_enabled(),
        "torch threads": torch.get_num_threads(),
        "NumPy error handling": np.geterr(),
        **{f"pyro {name}": value for name, value in pyro.settings.get().items()},
    }
