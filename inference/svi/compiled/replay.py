"""A compiled function as the list of calls that one run of it makes, to be made again and again without Python.

All shapes are fixed, so that a second run calls the same kernels on buffers of the same sizes. With the buffers of the
first run kept in place, the calls with their addresses are the whole program: a loop over them in C takes a step in the
time of its kernels, where a call of the function spends most of a small step on allocating and freeing.
"""

import ctypes
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import BuiltinFunctionType, FrameType
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from .native_products import native_product
from .replay_driver import Driver, driver

__all__ = ["NotReplayable", "Replay", "Rows"]


class NotReplayable(RuntimeError):  # noqa: N818 - it says what a function is, and the caller goes on without
    """A run of the function is more than calls of compiled kernels and of torch's operations on fixed buffers."""


class Rows(NamedTuple):
    """An input that differs from step to step.

    Attributes:
        rows: its values, (S, ...), a row a step.
        target: the tensor that the function reads, of the size of a row in memory.
    """

    rows: Tensor
    target: Tensor


class _Call(NamedTuple):
    address: int
    arguments: list[int]


class Replay:
    """The calls of one run of a compiled function.

    Args:
        function: compiled, in torch's Python wrapper; its inputs are read, and written to, where they are.
        inputs: what it is called with, now and for ever. What it writes to is put back after the recording.
        loss: the one of the inputs to which it writes its loss, float64.

    Raises:
        NotReplayable: the function does something else than to call kernels and operations.
    """

    def __init__(self, function: Callable[..., Any], inputs: Sequence[Tensor], loss: Tensor) -> None:
        self.loss = loss
        self.failure: BaseException | None = None
        self._kept: list[Any] = [function, *inputs]
        before = [tensor.clone() for tensor in inputs]

        calls = self._recorded(function, inputs)
        for tensor, old in zip(inputs, before, strict=True):
            if not torch.equal(tensor, old):
                tensor.copy_(old)

        self._driver: Driver = driver({len(call.arguments) for call in calls})
        self._functions = _pointers([call.address for call in calls])
        self._counts = (ctypes.c_int64 * len(calls))(*(len(call.arguments) for call in calls))
        self._arguments = _pointers([argument for call in calls for argument in call.arguments])

    @torch.no_grad()
    def run(self, steps: int, inputs: Sequence[Rows]) -> list[float]:
        """Take so many steps, each with its row of these inputs, and give the losses; the last may be not finite."""
        losses = (ctypes.c_double * steps)()
        count = len(inputs)
        sources = _pointers([one.rows.data_ptr() for one in inputs])
        targets = _pointers([one.target.data_ptr() for one in inputs])
        sizes = (ctypes.c_int64 * count)(*(_span(one.target) for one in inputs))
        strides = (ctypes.c_int64 * count)(*(_stride(one.rows) for one in inputs))

        taken = self._driver(
            *(steps, len(self._counts), self._functions, self._counts, self._arguments),
            *(count, sources, targets, sizes, strides),
            *(ctypes.c_void_p(self.loss.data_ptr()), losses),
        )
        if self.failure is not None:
            failure, self.failure = self.failure, None
            raise failure

        return list(losses)[:taken]

    def _recorded(self, function: Callable[..., Any], inputs: Sequence[Tensor]) -> list[_Call]:
        with torch.no_grad():
            modules = _generated_modules(function, inputs)
            if not modules:
                raise NotReplayable("no code that torch's compiler has generated was seen to run")
            calls: list[_Call] = []
            with _kernels_noted(modules, calls, self._kept), _Operations(self, calls):
                self._kept.append(function(*inputs))

        return calls

    def note(self, calls: list[_Call], again: Callable[[], None]) -> None:
        """Record a call of a Python function."""

        def guarded() -> int:
            try:
                again()
            except BaseException as error:  # it cannot pass through C
                self.failure = error
                return 1
            return 0

        entry = ctypes.CFUNCTYPE(ctypes.c_int)(guarded)
        self._kept.append(entry)
        address = ctypes.cast(entry, ctypes.c_void_p).value
        assert address is not None
        calls.append(_Call(address, []))


class _Operations(TorchDispatchMode):
    """Records torch's own operations, as products of matrices: each is called again on the same tensors."""

    def __init__(self, replay: Replay, calls: list[_Call]) -> None:
        super().__init__()
        self.replay, self.calls = replay, calls

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given: dict[str, Any] = kwargs or {}
        if torch.Tag.nondeterministic_seeded in func.tags:
            raise NotReplayable(f"{func} draws random numbers")

        results = func(*args, **given)
        first = [result for result in tree_leaves(results) if isinstance(result, Tensor)]
        self.replay._kept.append((args, given, first))
        native = native_product(func, args, given)
        if native is not None:
            self.replay._kept.append(native.owner)
            self.calls.append(_Call(native.address, native.arguments))
            return results

        def again() -> None:
            found = [result for result in tree_leaves(func(*args, **given)) if isinstance(result, Tensor)]
            for place, result in zip(first, found, strict=True):
                if place.data_ptr() != result.data_ptr():
                    place.copy_(result)

        self.replay.note(self.calls, again)
        return results


def _generated_modules(function: Callable[..., Any], inputs: Sequence[Tensor]) -> list[dict[str, Any]]:
    """The globals of the modules that torch's compiler has written for the function, seen in a run of it."""
    found: dict[int, dict[str, Any]] = {}

    def look(frame: FrameType, event: str, _argument: Any) -> None:
        if event == "call" and frame.f_code.co_name == "call" and any(map(_is_kernel, frame.f_globals.values())):
            found[id(frame.f_globals)] = frame.f_globals

    before = sys.getprofile()
    sys.setprofile(look)
    try:
        function(*inputs)
    finally:
        sys.setprofile(before)
    return list(found.values())


@contextmanager
def _kernels_noted(modules: list[dict[str, Any]], calls: list[_Call], kept: list[Any]) -> Iterator[None]:
    replaced = [(names, name, value) for names in modules for name, value in names.items() if _is_kernel(value)]
    for names, name, kernel in replaced:
        names[name] = _noting(kernel, calls, kept)
    try:
        yield
    finally:
        for names, name, kernel in replaced:
            names[name] = kernel


def _noting(kernel: Any, calls: list[_Call], kept: list[Any]) -> Callable[..., None]:
    library = ctypes.CDLL(kernel.__self__.__file__)
    address = ctypes.cast(library.kernel, ctypes.c_void_p).value
    assert address is not None

    def call(*arguments: Any) -> None:
        if not all(isinstance(argument, Tensor) for argument in arguments):
            raise NotReplayable("a kernel is given something else than tensors")
        kept.append((library, arguments))
        calls.append(_Call(address, [argument.data_ptr() for argument in arguments]))
        kernel(*arguments)

    return call


def _is_kernel(value: Any) -> bool:
    """A function of C++ that torch's compiler has built, bound to Python."""
    if not isinstance(value, BuiltinFunctionType) or value.__name__ != "kernel":
        return False
    return getattr(value.__self__, "__file__", None) is not None


def _pointers(addresses: Sequence[int]) -> Any:
    return (ctypes.c_void_p * len(addresses))(*addresses)


def _span(tensor: Tensor) -> int:
    """Bytes from its first number to the end of its last."""
    if tensor.numel() == 0:
        return 0
    last = sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.stride(), strict=True))
    return (last + 1) * tensor.element_size()


def _stride(rows: Tensor) -> int:
    return rows.stride(0) * rows.element_size()
