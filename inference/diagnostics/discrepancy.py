"""Which mean or standard deviation of a guide is off, beyond what is tolerable and what noise can do."""

import math

import numpy as np
import xarray as xr

from .moments import TOLERABLE_RATIO, TOLERABLE_SHIFT

__all__ = ["SIGMAS", "corrected_off", "off_by", "worst"]

SIGMAS = 4.0
"""What is off by less than so many standard errors is noise: the worst of thousands of numbers is looked at."""


def off_by(moments: xr.Dataset) -> list[str]:
    """What is off in a table of moments beyond tolerance and noise: the worst mean, the worst standard deviation."""
    said = []
    name, value, error = worst(moments, "shift")
    if abs(value) > max(TOLERABLE_SHIFT, SIGMAS * error):
        said.append(f"its mean of {name} is {value:+.2f} ± {error:.2f} posterior standard deviations off")
    name, value, error = worst(moments, "log_ratio")
    if abs(value) > max(math.log(TOLERABLE_RATIO), SIGMAS * error):
        ratio = math.exp(value)
        said.append(f"its standard deviation of {name} is {ratio:.2f} ± {ratio * error:.2f} times the posterior's")
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
    name, value, error = worst(table, "shift")
    if abs(value) <= max(TOLERABLE_SHIFT, SIGMAS * error):
        return ""
    return f"its mean of {name} is {value:+.2f} posterior standard deviations off"


def worst(moments: xr.Dataset, moment: str) -> tuple[str, float, float]:
    """The element that is off most in this moment of a table: its name, as theta[3], the moment, and its error."""
    candidates = []
    for name, values in moments.items():
        if "moment" in values.dims:
            value, error = (np.asarray(values.sel(moment=m)) for m in (moment, f"{moment}_error"))
            size = np.where(np.isnan(value), -1.0, np.abs(value))
            index = np.unravel_index(size.argmax(), size.shape)
            label = f"{name}[{', '.join(map(str, index))}]" if index else str(name)
            candidates.append((label, float(value[index]), float(error[index])))
    return max(candidates, key=lambda one: abs(one[1]))
