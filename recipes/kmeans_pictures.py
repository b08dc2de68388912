"""Pictures of K-means: prototypes in their cells or as images, and annealing's heat capacity and tree of splits."""

import math
from collections.abc import Callable, Mapping
from functools import partial

import numpy as np
import torch
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from ..guides import Responsibilities
from ..models import KMeans
from ..models.kmeans import assignments
from .deterministic_annealing import anneal, cooling, critical_beta
from .image_grid import draw_grid
from .recipe import Recipe

__all__ = ["draw_cells", "draw_heat_capacity", "draw_splits", "kmeans_pictures", "split_betas"]

LIGHT, DARK, SPLIT = "#0072b2", "#d55e00", "#999999"


def kmeans_pictures(features: Tensor) -> Mapping[str, Callable[[Recipe], Figure]]:
    """The pictures by file name, of features in the plane or of square images (N, pixels).

    Raises:
        TypeError: from a picture, where the recipe's pair is not `KMeans` and `Responsibilities`.

    Example:
        >>> list(kmeans_pictures(torch.randn(5, 2)))
        ['prototypes', 'annealing']
    """
    return {"prototypes": partial(prototypes, features), "annealing": partial(annealing, features)}


@torch.no_grad()
def prototypes(features: Tensor, recipe: Recipe) -> Figure:
    """The prototypes among the data, each with its cell; of images the prototypes as images."""
    model, _ = recipe.pair(KMeans, Responsibilities, "kmeans_pictures")
    planar = features.shape[1] == 2
    figure = Figure(figsize=(5.5, 5.5) if planar else (7, 1.3), layout="constrained")
    axes = figure.subplots()
    if planar:
        draw_cells(axes, features, model.prototypes)
        return figure
    side = math.isqrt(features.shape[1])
    images = model.prototypes.reshape(1, -1, side, side)
    counts = model.responsibilities(features, math.inf).sum(0)
    draw_grid(axes, images.clamp(0, 1), columns=[f"{int(count)}" for count in counts])
    axes.set_xlabel("images that each prototype is nearest to")
    return figure


@torch.no_grad()
def annealing(features: Tensor, recipe: Recipe) -> Figure:
    """The heat capacity over the inverse temperature, and where the prototypes go meanwhile."""
    model, _ = recipe.pair(KMeans, Responsibilities, "kmeans_pictures")
    trajectory = anneal(features, len(model.prototypes), cooling(features, rate=1.1), steps=20).trajectory
    figure = Figure(figsize=(7, 6), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True)
    draw_heat_capacity(above, trajectory)
    draw_splits(below, trajectory, features)
    above.set_xlabel("")
    above.axvline(critical_beta(features), color=DARK, linestyle="--", label=r"$\beta_c = 1 / (2 \lambda_{max})$")
    above.legend(frameon=False)
    return figure


def draw_cells(ax: Axes, features: Tensor, prototypes: Tensor, beta: float = math.inf, resolution: int = 300) -> None:
    """Data and prototypes in the plane, and the borders of the cells that are nearest to each prototype.

    At finite beta the ground is darker the more responsibility others than the nearest prototype have.

    Args:
        ax: where to.
        features: (N, 2).
        prototypes: (K, 2).
        beta: inverse temperature.
        resolution: of the ground, in points a side.
    """
    low, high = (float(end) for end in torch.aminmax(features))
    margin = 0.08 * (high - low)
    side = torch.linspace(low - margin, high + margin, resolution, dtype=prototypes.dtype)
    grid = torch.cartesian_prod(side, side)
    p = assignments(grid, prototypes.detach(), beta)
    nearest = p.argmax(-1).reshape(resolution, resolution).T
    ends = (low - margin, high + margin)
    where = (*ends, *ends)
    if beta < math.inf:
        mixed = (1 - p.amax(-1)).reshape(resolution, resolution).T
        ax.imshow(mixed, origin="lower", extent=where, cmap="Greys", vmin=0, vmax=1)
    for one in range(len(prototypes) if len(prototypes) > 1 else 0):
        ax.contour(side, side, (nearest == one).double(), levels=[0.5], colors="black", linewidths=0.6)
    ax.scatter(*features.T.numpy(), s=5, color=LIGHT, alpha=0.6, linewidth=0)
    ax.scatter(*prototypes.detach().T.numpy(), s=45, marker="X", color=DARK, edgecolor="white", zorder=3)
    ax.set(xlabel="$y_1$", ylabel="$y_2$", aspect="equal", xlim=ends, ylim=ends)


def draw_heat_capacity(ax: Axes, trajectory: xr.Dataset, size: int = 1) -> None:
    """c = beta^2 Var E over beta of the first seed, over ``size`` data, with grey lines where clusters split."""
    first = trajectory.isel(seed=0)
    ax.semilogx(first.beta, first.heat_capacity / size, color=LIGHT, marker=".", markersize=4)
    _lines(ax, trajectory)
    ax.set(xlabel=r"inverse temperature $\beta$", ylabel=r"$c = \beta^2\,$Var$\,E$" + (", a datum" if size > 1 else ""))
    ax.set_ylim(bottom=0)
    ax.spines[["top", "right"]].set_visible(False)


def draw_splits(ax: Axes, trajectory: xr.Dataset, features: Tensor) -> None:
    """The tree of splits: each prototype's place along the first principal axis of the data, over beta."""
    y = features.detach().double()
    _, _, axes = torch.linalg.svd(y - y.mean(0), full_matrices=False)
    along = (trajectory.prototypes.isel(seed=0).values - y.mean(0).numpy()) @ axes[0].numpy()
    ax.semilogx(trajectory.beta, along, color=DARK, linewidth=1.2)
    _lines(ax, trajectory)
    ax.set(xlabel=r"inverse temperature $\beta$", ylabel="prototypes, first principal axis")
    ax.spines[["top", "right"]].set_visible(False)


def split_betas(trajectory: xr.Dataset) -> np.ndarray:
    """The temperatures at which the first seed has more distinct prototypes than at any higher temperature."""
    most = np.maximum.accumulate(trajectory.clusters.isel(seed=0).values)
    return trajectory.beta.values[1:][np.diff(most) > 0]


def _lines(ax: Axes, trajectory: xr.Dataset) -> None:
    for number, beta in enumerate(split_betas(trajectory)):
        ax.axvline(beta, color=SPLIT, linewidth=0.8, zorder=0, label=None if number else "more clusters")
