"""The loop in C that makes recorded calls: built once for the numbers of arguments that kernels have, kept on disk."""

import ctypes
import functools
from collections.abc import Callable, Iterable

from ...compiler.shared_library import built_library

__all__ = ["Driver", "add_product", "driver"]

Driver = Callable[..., int]

SOURCE = """\
#include <cmath>
#include <cstdint>
#include <cstring>

typedef void *pointer;

static inline int call(pointer function, pointer *a, int64_t count) {{
    switch (count) {{
        case 0: return reinterpret_cast<int (*)()>(function)();
{cases}
    }}
    return 1;
}}

extern "C" void add_product(pointer function, pointer out, pointer summand, pointer left, pointer right) {{
    using Sum = int (*)(pointer, pointer, pointer, pointer, double, double);
    reinterpret_cast<Sum>(function)(out, summand, left, right, 1.0, 1.0);
}}

extern "C" int64_t replay(
    int64_t steps, int64_t calls, pointer *functions, const int64_t *counts, pointer *arguments,
    int64_t inputs, char **sources, char **targets, const int64_t *sizes, const int64_t *strides,
    const double *loss, double *losses
) {{
    for (int64_t step = 0; step < steps; ++step) {{
        for (int64_t input = 0; input < inputs; ++input)
            std::memcpy(targets[input], sources[input] + step * strides[input], sizes[input]);
        pointer *next = arguments;
        for (int64_t index = 0; index < calls; ++index) {{
            if (call(functions[index], next, counts[index])) return step;
            next += counts[index];
        }}
        losses[step] = *loss;
        if (!std::isfinite(*loss)) return step + 1;
    }}
    return steps;
}}
"""
CASE = "        case {count}: reinterpret_cast<void (*)({types})>(function)({values}); return 0;"


@functools.cache
def _loaded(counts: tuple[int, ...]) -> ctypes.CDLL:
    library = ctypes.CDLL(str(built_library("replay", _source(counts), ["-O2"])))
    library.replay.restype = ctypes.c_int64
    library.replay.argtypes = [
        *(ctypes.c_int64, ctypes.c_int64, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p),
        *(ctypes.c_int64, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p),
        *(ctypes.c_void_p, ctypes.c_void_p),
    ]
    return library


def driver(counts: Iterable[int]) -> Driver:
    """The loop, for kernels that have so many arguments; what has none gives an int, which is not 0 where it fails.

    Raises:
        subprocess.CalledProcessError: the C++ compiler fails.
    """
    return _loaded(tuple(sorted({*counts} - {0}))).replay


def add_product() -> int:
    """The address of a function that calls one of torch's for a sum and a product, given before its arguments."""
    address = ctypes.cast(_loaded(()).add_product, ctypes.c_void_p).value
    assert address is not None
    return address


def _source(counts: tuple[int, ...]) -> str:
    cases = []
    for count in counts:
        types = ", ".join(["pointer"] * count)
        values = ", ".join(f"a[{index}]" for index in range(count))
        cases.append(CASE.format(count=count, types=types, values=values))
    return SOURCE.format(cases="\n".join(cases))
