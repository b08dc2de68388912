"""F over a plane of observations: what the model calls likely, and what it cannot explain, at one temperature."""

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from matplotlib.axes import Axes
from torch import Tensor

from .base_measure import Base
from .color_map import draw_map
from .plots import new_axes
from .view import BoundView

__all__ = ["plot_free_energy_map"]

Coordinates = Sequence[float] | np.ndarray | Tensor


def plot_free_energy_map(
    bind: Callable[[Tensor], BoundView],
    grid: tuple[Coordinates, Coordinates],
    beta: float = 1.0,
    base: Base = "lebesgue",
    ax: Axes | None = None,
) -> Axes:
    r"""F_beta(x) in nats over a grid of two-dimensional observations x, by one call for all of them.

    Args:
        bind: the bound view of M observations (M, 2), as ``pyrometer.EnergyView(model).bind`` is where the model
            takes nothing else.
        grid: the coordinates along both axes of the map, rising.
        beta: inverse temperature; ``math.inf`` maps the lowest energy F_inf.
        base: the base measure; with ``"uniform"`` maps of one model at several temperatures are of one scale.
        ax: axes to draw into; those of a new figure without.

    Returns:
        The axes.

    Raises:
        ValueError: if the data are not independent, so that a point of the map has no free energy of its own, or zero
            temperature is asked for with ``base="prior"``, whose F has another limit than F_inf.

    Source: Y. LeCun and A. Canziani, Deep Learning (NYU, 2021), the lectures on latent-variable energy models.

    Example:
        >>> import pyro, torch, pyro.distributions as dist
        >>> from pyrometer import EnergyView
        >>> def model(x):
        ...     with pyro.plate("data", len(x)):
        ...         z = pyro.sample("z", dist.Normal(0.0, 2.0))
        ...         pyro.sample("x", dist.Normal(torch.stack([z, z**2], -1), 0.5).to_event(1), obs=x)
        >>> plot_free_energy_map(EnergyView(model).bind, ([-1.0, 0.0, 1.0], [0.0, 1.0])).get_title()
        '$F$ at $\\beta = 1$, base lebesgue'
    """
    x, y = (torch.as_tensor(np.asarray(values), dtype=torch.get_default_dtype()) for values in grid)
    cold = beta == math.inf
    if cold and base == "prior":
        raise ValueError(
            'at beta=inf, base must be "lebesgue" or "uniform": with "prior" only the data\'s energy is tempered, and '
            "the limit of F is not the lowest energy that is mapped."
        )
    view = bind(torch.cartesian_prod(x, y))
    with torch.no_grad():
        found = view.zero_temperature() if cold else view.free_energy(beta=beta, base=base)
    if found.per_datum is None or len(found.per_datum) != len(x) * len(y):
        raise ValueError(
            f"bind must give a view of {len(x) * len(y)} independent data, one for each row of its argument, got "
            f"{view}; latents that the data share, or no data plate, leave a datum without a free energy of its own."
        )
    ax = new_axes((5.6, 4.6)) if ax is None else ax
    values = found.per_datum.reshape(len(x), len(y)).numpy()
    title = r"$F_\infty$, lowest energy" if cold else rf"$F$ at $\beta = {beta:g}$, base {base}"
    draw_map(ax, x.numpy(), y.numpy(), values, "lowest energy, nats" if cold else "free energy, nats")
    ax.set(xlabel="observation $x_1$", ylabel="observation $x_2$", aspect="equal", title=title)
    return ax
