"""Pictures of curves that a latent angle goes round: the data, the learnt curve, and free energies over the plane."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from ..guides import Angle, ConditionalAngle
from ..inference.energy import EnergyView, plot_free_energy_map
from ..models import Ellipse, Horn
from .recipe import Recipe

__all__ = ["curve_of_ellipse", "free_energies", "sections"]

DATA, CURVE, DRAWN = "#0072b2", "#d55e00", "#009e73"
AROUND = 2 * math.pi * torch.arange(401) / 400


@torch.no_grad()
def curve_of_ellipse(point: Tensor, recipe: Recipe) -> Figure:
    """The points that were trained on, and the learnt ellipse."""
    model, _ = recipe.pair(Ellipse, Angle, "curve_pictures")
    figure = Figure(figsize=(5, 4), layout="constrained")
    ax = figure.subplots()
    _draw(ax, point, model.curve(AROUND))
    ax.set_title(f"Radii {model.radii[0].abs():.3f} and {model.radii[1].abs():.3f}", fontsize="medium")
    ax.legend(loc="center")
    return figure


def free_energies(recipe: Recipe) -> Figure:
    """F over the plane by the uniform measure, cold and warm: the energy is the squared distance, and a constant."""
    model, _ = recipe.pair(Ellipse, Angle, "curve_pictures")
    warm = Ellipse(model.radii.tolist())
    figure = Figure(figsize=(11, 3.8), layout="constrained")
    grid = (np.linspace(-3, 3, 19), np.linspace(-2.5, 2.5, 17))
    for ax, beta in zip(figure.subplots(1, 2), (math.inf, 1.0), strict=True):
        plot_free_energy_map(EnergyView(warm).bind, grid, beta, "uniform", ax=ax)
    return figure


@torch.no_grad()
def sections(data: Mapping[str, Tensor], places: Sequence[float], recipe: Recipe, width: float = 0.1) -> Figure:
    """The data near each x, the learnt curve there, and draws of the model at the same x.

    Args:
        data: what was trained on, ``x`` (N,) and ``point`` (N, 2).
        places: the x of the curves.
        recipe: that of the model.
        width: of the interval about each place that data and draws are from.
    """
    model, _ = recipe.pair(Horn, ConditionalAngle, "curve_pictures")
    figure = Figure(figsize=(4.6 * len(places) + 0.4, 4.4), layout="constrained")
    axes = figure.subplots(1, len(places), squeeze=False)[0]
    for ax, place in zip(axes, places, strict=True):
        near = (data["x"] - place).abs() <= width / 2
        _draw(ax, data["point"][near], model.decoder(torch.tensor(place), AROUND))
        ax.plot(*drawn(model, data["x"][near]).T.numpy(), "x", color=DRAWN, markersize=5, label="drawn")
        ax.set_title(f"x = {place:g}", fontsize="medium")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return figure


@torch.no_grad()
def drawn(model: Horn, x: Tensor, seed: int = 0) -> Tensor:
    """One outcome of the model for each x, (N, 2), by draws of their own."""
    generator = torch.Generator().manual_seed(seed)
    angle = 2 * math.pi * torch.rand(x.shape, generator=generator)
    return model.decoder(x, angle) + model.scale * torch.randn(*x.shape, 2, generator=generator)


def _draw(ax: Axes, point: Tensor, curve: Tensor) -> None:
    ax.plot(*point.T.numpy(), "o", color=DATA, markersize=4, label="data")
    ax.plot(*curve.T.numpy(), color=CURVE, linewidth=1.6, label="learnt curve")
    ax.set(xlabel="$y_1$", ylabel="$y_2$", aspect="equal")
    ax.spines[["top", "right"]].set_visible(False)
