r"""Training a model without a guide and a guide beside it, and the three ways of treating a latent angle."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from pyro.infer import Trace_ELBO
from torch import Tensor, nn
from torch.func import functional_call

from ..inference.svi import Marginalised, Minimised

__all__ = ["GuideBeside", "angle_objective", "circle"]


@dataclass(frozen=True)
class GuideBeside:
    r"""An objective of ``fit`` that moves the model by one without a guide, and a guide by the ELBO of that model.

    The model's weights are held in the ELBO: the guide learns to explain the model, and moves none of its weights.
    The value is that of the model's own objective.

    Args:
        objective: ``Minimised`` or ``Marginalised``.
    """

    objective: Minimised | Marginalised

    def __call__(self, model: nn.Module, guide: Callable, **batch: Any) -> Tensor:
        """The objective of a batch, a scalar with gradient."""
        held = {name: parameter.detach() for name, parameter in model.named_parameters()}

        def held_model(**arguments: Any) -> Any:
            return functional_call(model, held, (), arguments)

        learns = Trace_ELBO().differentiable_loss(held_model, guide, **batch)
        return self.objective(model, guide, **batch) + learns - learns.detach()


def angle_objective(latent: str, points: int) -> Any:
    """What trains a model of the site ``angle`` and its guide: three ways of treating a latent.

    Args:
        latent: ``amortised``, by the ELBO of the guide; ``marginalised``, by the free energy F_1 = -log p, or
            ``minimised``, by the lowest energy F_inf, both without the guide, which is trained beside.
        points: of the circle, that stand for the angle where it is summed or minimised over.

    Raises:
        ValueError: if there is no such way.
    """
    ways: dict[str, Callable[[], Any]] = {
        "amortised": Trace_ELBO,
        "marginalised": lambda: GuideBeside(Marginalised(circle(points))),
        "minimised": lambda: GuideBeside(Minimised(circle(points))),
    }
    if latent not in ways:
        raise ValueError(f"setting 'latent' must be one of {', '.join(ways)}, got {latent!r}.")
    return ways[latent]()


def circle(points: int) -> dict[str, Tensor]:
    """Evenly spaced values of the site ``angle``.

    Example:
        >>> circle(4)
        {'angle': tensor([0.0000, 1.5708, 3.1416, 4.7124])}
    """
    return {"angle": 2 * math.pi * torch.arange(points) / points}
