"""Which mean or standard deviation of a guide is off, beyond what is tolerable and what noise can do."""

import math
from typing import NamedTuple

import numpy as np
import xarray as xr

from .moments import TOLERABLE_RATIO, TOLERABLE_SHIFT

__all__ = ["SIGMAS", "Element", "corrected_off", "farthest", "off_by"]

SIGMAS = 4.0
"""What is off by less than so many standard errors is noise: the worst of thousands of numbers is looked at."""


class Element(NamedTuple):
    """An element of a table of moments by its name, as theta[3]: a moment of it, and the standard error."""

    name: str
    value: float
    error: float


def off_by(moments: xr.Dataset) -> list[str]:
    """What is off in a table of moments beyond tolerance and noise: the worst mean, the worst standard deviation."""
    said = []
    if mean := farthest(moments, "shift", TOLERABLE_SHIFT):
        said.append(
            f"its mean of {mean.name} is {mean.value:+.2f} ± {mean.error:.2f} posterior standard deviations off"
        )
    if spread := farthest(moments, "log_ratio", math.log(TOLERABLE_RATIO)):
        name, ratio = spread.name, math.exp(spread.value)
        said.append(
            f"its standard deviation of {name} is {ratio:.2f} ± {ratio * spread.error:.2f} times the posterior's"
        )
    return said


def corrected_off(moments: xr.Dataset | None, reference: xr.Dataset) -> str:
    """Which mean is off beside the reference although weights have corrected it; nothing where none is."""
    if moments is None:
        return ""
    rows = {}
    for name in (name for name in reference if name in moments and "moment" in moments[name].dims):
        own, known = moments[name], reference[name]
        corrected, mean, sd = (
            part.sel(moment=m, drop=True) for part, m in ((own, "mean"), (known, "mean"), (known, "sd"))
        )
        errors = (part.sel(moment="shift_error", drop=True) for part in (own, known))
        shift, error = (corrected - mean) / sd, sum(one**2 for one in errors) ** 0.5
        rows[name] = xr.concat([shift, error], "moment", coords="minimal", compat="override")
    table = xr.Dataset(rows).assign_coords(moment=["shift", "shift_error"])
    mean = farthest(table, "shift", TOLERABLE_SHIFT)
    return f"its mean of {mean.name} is {mean.value:+.2f} posterior standard deviations off" if mean else ""


def farthest(moments: xr.Dataset, moment: str, tolerable: float | None = None) -> Element | None:
    """The element whose moment is farthest from 0, nan left out; None where there is none.

    Args:
        moments: a table of moments.
        moment: of them, one that has an error: ``"shift"`` or ``"log_ratio"``.
        tolerable: only what is farther than this, and than noise can do, is looked at: else the noise of one element
            would hide what is wrong with another.
    """
    found = []
    for name, values in moments.items():
        if "moment" not in values.dims:
            continue
        value, error = (np.asarray(values.sel(moment=m)) for m in (moment, f"{moment}_error"))
        least = -1.0 if tolerable is None else np.fmax(tolerable, SIGMAS * error)
        size = np.where(np.abs(value) > least, np.abs(value), -1.0)
        index = np.unravel_index(size.argmax(), size.shape)
        if size[index] >= 0:
            label = f"{name}[{', '.join(map(str, index))}]" if index else str(name)
            found.append(Element(label, float(value[index]), float(error[index])))
    return max(found, key=lambda one: abs(one.value), default=None)
