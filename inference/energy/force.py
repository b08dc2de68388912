r"""How the free energy pulls at an observation:  -dF_beta/dy = -E[dE/dy] under p_beta(z | y)."""

import math
from collections.abc import Callable, Mapping

import numpy as np
import torch
from matplotlib.axes import Axes
from torch import Tensor

from .free_energy_map import Coordinates
from .latent_points import energies_at, free_energy_at
from .plots import new_axes
from .view import BoundView

__all__ = ["force", "plot_force"]


def force(
    bind: Callable[[Tensor], BoundView],
    observations: Tensor,
    beta: float = 1.0,
    points: Mapping[str, Tensor] | None = None,
) -> Tensor:
    r"""The force on each observation, downhill in the free energy, in nats per unit of the observation.

    .. math:: f(y) = -\frac{\partial F_\beta}{\partial y}
              = -E_{p_\beta(z \mid y)} \Big[ \frac{\partial E}{\partial y}(y, z) \Big], \qquad
              f_\infty(y) = -\frac{\partial E}{\partial y}(y, \hat z)

    How far the latents move with y changes nothing to first order, at any temperature. At zero temperature the
    observation is drawn to its best explanation alone; where several tie, F_inf has a kink, and the force is towards
    one of them. When warm it is drawn to all in proportion to their weights.

    Args:
        bind: the bound view of observations, as ``pyrometer.EnergyView(model).bind`` is where the model takes nothing
            else; its data must not share latents.
        observations: y, (N, *event_shape), of floating point.
        beta: inverse temperature; ``math.inf`` takes the minimiser that ``BoundView.zero_temperature`` finds.
        points: values of every latent, jointly, that stand for the latent space, by site, (K, *event_shape), needed at
            finite temperature: as in ``pyrometer.Marginalised``, dense enough for exp(-beta E).

    Returns:
        The force on each observation, of their shape.

    Raises:
        ValueError: if points are missing, or are given at zero temperature, or do not fit.

    Source: J. M. Danskin (1966), The theory of max-min, for zero temperature.

    Example:
        >>> import pyro, torch, pyro.distributions as dist
        >>> from pyrometer import EnergyView
        >>> def model(y):
        ...     with pyro.plate("data", len(y)):
        ...         k = pyro.sample("k", dist.Categorical(torch.ones(2)))
        ...         pyro.sample("y", dist.Normal(2.0 * k - 1.0, 0.5), obs=y)
        >>> y, both = torch.tensor([0.0, 0.5]), {"k": torch.arange(2)}
        >>> force(EnergyView(model).bind, y, points=both)  # between the two, and nearer to the second
        tensor([-0.0000, 1.8561])
    """
    if (points is None) != (beta == math.inf):
        raise ValueError(
            f"points must be given at a finite beta and at no other, got beta = {beta} "
            f"{'without points' if points is None else 'with points'}."
        )
    moved = observations.detach().requires_grad_()
    view = bind(moved)
    if points is None:
        with torch.no_grad():
            latents = view.zero_temperature().latents
        total = view.energy_per_datum(latents).sum()
    else:
        total = free_energy_at(energies_at(view, points)[0], beta).sum()
    (gradient,) = torch.autograd.grad(total, moved)
    return -gradient


def plot_force(
    bind: Callable[[Tensor], BoundView],
    grid: tuple[Coordinates, Coordinates],
    beta: float = 1.0,
    points: Mapping[str, Tensor] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Arrows of the force on a grid of two-dimensional observations, as long as the force is strong, the longest alike.

    Args:
        bind: as ``force`` takes it.
        grid: the coordinates along both axes.
        beta: as ``force`` takes it.
        points: likewise.
        ax: axes to draw into, such as those of ``plot_free_energy_map``; those of a new figure without.

    Returns:
        The axes.

    Example:
        >>> import pyro, torch, pyro.distributions as dist
        >>> from pyrometer import EnergyView
        >>> def model(x):
        ...     with pyro.plate("data", len(x)):
        ...         k = pyro.sample("k", dist.Categorical(torch.ones(2)))
        ...         on = torch.stack([2.0 * k - 1.0, torch.zeros(len(x))], -1)
        ...         pyro.sample("x", dist.Normal(on, 0.5).to_event(1), obs=x)
        >>> both = {"k": torch.arange(2)}
        >>> plot_force(EnergyView(model).bind, ([-1.0, 0.0, 1.0], [0.0, 1.0]), points=both).get_xlabel()
        'observation $x_1$'
    """
    ax = new_axes((5.6, 4.6)) if ax is None else ax
    x, y = (torch.as_tensor(np.asarray(values), dtype=torch.get_default_dtype()) for values in grid)
    where = torch.cartesian_prod(x, y)
    arrows = force(bind, where, beta, points)
    spacing = min(values.diff().abs().amin().item() for values in (x, y))
    longest = arrows.norm(dim=-1).max().item()
    scale = (longest or 1.0) / (0.9 * spacing)
    ax.quiver(*where.T.numpy(), *arrows.T.numpy(), angles="xy", scale_units="xy", scale=scale, width=0.005, zorder=3)
    ax.set(xlabel="observation $x_1$", ylabel="observation $x_2$", aspect="equal")
    return ax
