"""Pictures of tables: free energy and heat capacity over the inverse temperature, and the gaps of a guide."""

import math

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

__all__ = ["new_axes", "plot_free_energy", "plot_gaps", "plot_heat_capacity"]

FREE, MEAN, LIMIT = "#0072b2", "#d55e00", "#000000"
GAPS = {
    "entropic_gap": ("entropic gap\n$F_1 - F_\\infty$", "#999999", ""),
    "gap": ("inference gap\n$-$ELBO $- F_1$", "#0072b2", ""),
    "approximation_gap": ("of it: approximation gap", "#56b4e9", "////"),
    "amortization_gap": ("of it: amortisation gap", "#e69f00", "...."),
}
"""What a bar of ``plot_gaps`` is called and looks like, by variable of the table, in the order drawn."""

MOST_TICKS = 8


def plot_free_energy(ladder: xr.Dataset, datum: int | None = None, ax: Axes | None = None) -> Axes:
    r"""F and U over the inverse temperature, in nats, with bands of two errors, and F_inf as a line.

    Where an error is nan, there is no band, the line is dashed and its points are hollow. F_inf is the limit
    of F with the base measures ``"lebesgue"`` and ``"uniform"``; with ``"prior"`` F has another, and it is left out.

    Args:
        ladder: a table of ``BoundView.ladder``.
        datum: the datum to draw; the total without.
        ax: axes to draw into; those of a new figure without.

    Returns:
        The axes; ``.figure.savefig(...)`` writes the picture.

    Raises:
        ValueError: if the table has no such datum.

    Example:
        >>> import pyro, torch, pyro.distributions as dist
        >>> from pyrometer import EnergyView
        >>> def model(y):
        ...     with pyro.plate("data", len(y)):
        ...         z = pyro.sample("z", dist.Normal(0.0, 2.0))
        ...         pyro.sample("y", dist.Normal(z, 0.5), obs=y)
        >>> ladder = EnergyView(model).bind(torch.tensor([0.3, -0.1])).ladder([0.5, 1.0, 2.0])
        >>> plot_free_energy(ladder, datum=1).get_ylabel()
        'energy of datum 1, nats'
    """
    ax = new_axes() if ax is None else ax
    suffix, of = _part(ladder, datum)
    exact = ladder.attrs["bound"] == "exact"
    _line(ax, _column(ladder, "mean_energy", suffix, datum), ("mean energy $U$", MEAN, "s", ":"), exact)
    _line(ax, _column(ladder, "free_energy", suffix, datum), ("free energy $F$", FREE, "o", "-"), exact)
    if ladder.attrs["base"] != "prior":
        lowest, _ = _value(ladder, "zero_temperature", suffix, datum)
        ax.axhline(float(lowest), color=LIMIT, linestyle="-.", linewidth=1, label=r"$F_\infty$, lowest energy")
    _over_beta(ax, ladder, f"energy{of}, nats")
    return ax


def plot_heat_capacity(ladder: xr.Dataset, datum: int | None = None, ax: Axes | None = None) -> Axes:
    r"""c = beta^2 Var E over the inverse temperature, without unit, with a band of two errors.

    At high beta it counts half a unit for every continuous dimension that is still thermally spread; a peak marks the
    temperature at which one explanation gives way to several.

    Args, Returns and Raises: as ``plot_free_energy``.
    """
    ax = new_axes() if ax is None else ax
    suffix, of = _part(ladder, datum)
    exact = ladder.attrs["bound"] == "exact"
    _line(ax, _column(ladder, "heat_capacity", suffix, datum), ("heat capacity $c$", FREE, "o", "-"), exact)
    _over_beta(ax, ladder, rf"$c = \beta^2\,$Var$\,E${of}")
    ax.set_ylim(bottom=min(0.0, ax.get_ylim()[0]))
    return ax


def plot_gaps(comparison: xr.Dataset, datum: int | None = None, ax: Axes | None = None) -> Axes:
    r"""The entropic gap F_1 - F_inf and the inference gap -ELBO - F_1, with its parts, as bars in nats.

    Gaps that the table lacks, or that are nan, have no bar. Whiskers are two standard errors; the numbers beside the
    bars have one.

    Args:
        comparison: a table of ``compare``.
        datum: the datum to draw; the total without.
        ax: axes to draw into; those of a new figure without.

    Raises:
        ValueError: if the table has no such datum, or no gap.
    """
    suffix, of = _part(comparison, datum)
    found = {name: _value(comparison, name, suffix, datum) for name in GAPS if f"{name}{suffix}" in comparison}
    found = {name: number for name, number in found.items() if math.isfinite(number[0])}
    if not found:
        raise ValueError(f"comparison has none of {[name + suffix for name in GAPS]}; pass a table of `compare`.")
    ax = new_axes((6.0, 0.9 + 0.6 * len(found))) if ax is None else ax
    for place, (name, (value, error)) in enumerate(found.items()):
        _, colour, hatch = GAPS[name]
        whisker = 2 * error if error > 0 else None
        style = {"color": colour, "hatch": hatch, "edgecolor": "black", "linewidth": 0.8, "height": 0.62}
        ax.barh(place, value, xerr=whisker, error_kw={"capsize": 3, "linewidth": 1.2}, **style)
        _write_value(ax, place, value, error)
    ax.set_yticks(range(len(found)), [GAPS[name][0] for name in found])
    ax.invert_yaxis()
    ax.axvline(0.0, color="black", linewidth=0.8)
    ax.set_xlabel(f"gap{of}, nats")
    _open(ax)
    return ax


def new_axes(size: tuple[float, float] = (6.0, 4.0)) -> Axes:
    """Axes of a new figure that pyplot does not know: nothing stays open."""
    return Figure(figsize=size, layout="constrained").subplots()


def _part(table: xr.Dataset, datum: int | None) -> tuple[str, str]:
    """The ending of the variables' names and of the label."""
    if datum is None:
        return "", ""
    size = table.sizes.get("data", 0)
    if not -size <= datum < size:
        raise ValueError(
            f"datum must be one of the table's {size} data, got {datum}; a total is drawn with datum=None."
        )
    return "_per_datum", f" of datum {datum}"


def _select(table: xr.Dataset, name: str, datum: int | None) -> np.ndarray:
    return (table[name] if datum is None else table[name].isel(data=datum)).values


def _value(table: xr.Dataset, name: str, suffix: str, datum: int | None) -> tuple[float, float]:
    """A number and its standard error, 0 where the table has none."""
    error = f"{name}_error{suffix}"
    found = _select(table, error, datum) if error in table else 0.0
    return float(_select(table, f"{name}{suffix}", datum)), float(found)


def _column(table: xr.Dataset, name: str, suffix: str, datum: int | None) -> np.ndarray:
    """beta, the values and their errors, (3, B)."""
    values, errors = (_select(table, f"{part}{suffix}", datum) for part in (name, f"{name}_error"))
    return np.stack([table.beta.values, values, errors])


def _line(ax: Axes, column: np.ndarray, style: tuple[str, str, str, str], exact: bool) -> None:
    """A line through points with known errors; through the others a dashed one, whose points are hollow."""
    (beta, values, errors), (label, colour, marker, linestyle) = column, style
    unknown = np.isnan(errors)
    if unknown.any():
        hollow = np.where(unknown, values, np.nan)
        ax.plot(beta, values, "--", color=colour, linewidth=1)
        points = {"marker": marker, "markersize": 5, "markerfacecolor": "white"}
        ax.plot(beta, hollow, "--", color=colour, label=f"{label}, error unknown", **points)
    if unknown.all():
        return
    known = np.where(unknown, np.nan, values)
    label = label if exact else rf"{label} $\pm$ 2 errors"
    ax.plot(beta, known, linestyle, color=colour, marker=marker, markersize=5, linewidth=1.6, label=label)
    if not exact:
        ax.fill_between(beta, known - 2 * errors, known + 2 * errors, color=colour, alpha=0.25, linewidth=0)


def _over_beta(ax: Axes, ladder: xr.Dataset, label: str) -> None:
    ax.set_xscale("log")
    rungs = ladder.beta.values
    if len(rungs) <= MOST_TICKS:  # powers of ten alone would leave a short ladder without a number
        ax.set_xticks(rungs, [f"{beta:g}" for beta in rungs])
        ax.minorticks_off()
    ax.set(xlabel=r"inverse temperature $\beta$", ylabel=label)
    kind = ladder.attrs
    ax.set_title(f"{kind['method']} ({kind['bound']}), base {kind['base']}", fontsize="medium")
    ax.legend(framealpha=0.9, fontsize="medium")
    _open(ax)


def _write_value(ax: Axes, place: int, value: float, error: float) -> None:
    """The number at the right of the axes, where no bar is in its way."""
    known = error >= 0.0005
    digits = min(3, max(0, 1 - math.floor(math.log10(error)))) if known else 3
    text = f"{value:.{digits}f}" + (rf" $\pm$ {error:.{digits}f}" if known else "")
    ax.text(1.02, place, text.replace("-", "\N{MINUS SIGN}"), transform=ax.get_yaxis_transform(), va="center")


def _open(ax: Axes) -> None:
    ax.spines[["top", "right"]].set_visible(False)
