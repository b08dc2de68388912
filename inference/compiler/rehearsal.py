"""The first run of compiled code, in a process of its own: code that is wrong may end that one, and not the user's.

The process is a fork, so that it has the code and all it reads at no cost; it runs on copies of the inputs, in guarded
memory, and what it computes is thrown away.
"""

import contextlib
import os
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from .guarded_memory import guard_memory, guards_available

__all__ = ["UnsafeCodeError", "rehearse"]

PATIENCE = 120.0
"""Seconds after which a run counts as one that never ends."""
RUNS = 2
FAILED = 3
"""The exit status of a process in which Python raised; that is for the caller to see, in the run that counts."""


class UnsafeCodeError(RuntimeError):
    """Compiled code has ended the process that it was tried in."""


def rehearse(function: Callable[..., object], inputs: Sequence[Tensor]) -> None:
    """Run a compiled function on copies of its inputs in another process, and see that the process survives.

    Where processes cannot fork, as on Windows, and on macOS, whose libraries do not bear it, nothing is done.

    Raises:
        UnsafeCodeError: it does not; the message says how it ended.
    """
    if sys.platform != "linux" or any(tensor.device.type != "cpu" for tensor in inputs):
        return

    guarded = guards_available()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of forking beside other threads, of which the fork needs none
        process = os.fork()
    if process == 0:
        _run_and_exit(function, inputs, guarded)

    status = _waited_for(process)
    if status is None:
        raise UnsafeCodeError(f"a run of the compiled code on copies had not ended after {PATIENCE:.0f} s")
    if os.WIFSIGNALED(status):
        name = signal.Signals(os.WTERMSIG(status)).name
        raise UnsafeCodeError(f"a run of the compiled code on copies ended its process ({name})")


def _run_and_exit(function: Callable[..., object], inputs: Sequence[Tensor], guarded: bool) -> None:
    """What the new process does; it never returns."""
    code = FAILED
    try:
        _silence()
        if guarded:
            guard_memory()
        # The threads of OpenMP are gone, and the thread that had them would wait for them; another has its own.
        finished: list[bool] = []
        runner = threading.Thread(target=lambda: finished.append(_run(function, inputs)))
        runner.start()
        runner.join()
        code = 0 if finished else FAILED
    finally:
        os._exit(code)


def _run(function: Callable[..., object], inputs: Sequence[Tensor]) -> bool:
    with torch.no_grad():
        for _ in range(RUNS):
            copies = [_copy(tensor) for tensor in inputs]
            results = function(*copies)
            del copies, results  # what is freed is looked at
    return True


def _copy(tensor: Tensor) -> Tensor:
    """The tensor in memory of its own, with the same strides, from its first number to the end of its last."""
    if tensor.numel() == 0:
        return tensor.clone()
    last = sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.stride(), strict=True))
    flat = tensor.detach().as_strided((last + 1,), (1,)).clone()
    return flat.as_strided(tensor.shape, tensor.stride())


def _silence() -> None:
    """Last words of a process that ends so are no news, and no core is to be written."""
    import faulthandler
    import resource

    faulthandler.disable()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):
        os.dup2(nowhere, stream)


def _waited_for(process: int) -> int | None:
    """The status with which it ends; None if it had to be ended."""
    until = time.monotonic() + PATIENCE
    pause = 0.001
    while time.monotonic() < until:
        ended, status = os.waitpid(process, os.WNOHANG)
        if ended:
            return status
        time.sleep(pause)
        pause = min(2 * pause, 0.05)
    with contextlib.suppress(ProcessLookupError):
        os.kill(process, signal.SIGKILL)
    os.waitpid(process, 0)
    return None
