"""What the tests of compiled steps share: graphs that are run as they are, without a C++ compiler."""

import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
import torch
from torch._inductor.cpp_builder import get_cpp_compiler
from torch._inductor.exc import InvalidCxxCompiler

from pyrometer.inference.svi.compiled import build, loop


def as_written(function: Callable) -> Callable:
    return function


def loop_in_python(condition: Callable, body: Callable, carried: Sequence[Any]) -> Sequence[Any]:
    while condition(*carried):
        carried = body(*carried)
    return carried


@pytest.fixture
def interpreted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything is as in compiled steps, but operations are run one by one: seconds become milliseconds."""
    monkeypatch.setattr(build, "_compiler", as_written)
    monkeypatch.setattr(loop, "while_loop", loop_in_python)


@pytest.fixture(autouse=True)
def dynamo_forgets() -> Iterator[None]:
    """What a test has compiled is dropped after it."""
    yield
    torch.compiler.reset()


@pytest.fixture
def compiler() -> None:
    """The test needs torch's own compiler, and with it one of C++."""
    if " " in sys.prefix:
        pytest.skip("torch does not quote the paths of its compiler: an environment with a space")
    try:
        get_cpp_compiler()
    except InvalidCxxCompiler:
        pytest.skip("no C++ compiler is there")
