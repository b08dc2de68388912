r"""Batch normalisation over the rows of a whole batch, of which each process has a share.

.. math:: y = w \hat x + b, \quad \hat x = \frac{x - m}{\sqrt{v + \epsilon}}, \qquad
          \frac{\partial L}{\partial x} = \frac{w}{\sqrt{v + \epsilon}} \Big( g - \frac{1}{N} \sum g
          - \frac{\hat x}{N} \sum g \hat x \Big), \quad g = \frac{\partial L}{\partial y}

with mean m, variance v and both sums over all N rows (and pixels) of all processes, which is where processes meet.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from .processes import Processes

__all__ = ["Meet", "SharedNormalisation"]

Meet = Callable[[Tensor], Tensor]
"""The sum of a tensor over all processes."""


class SharedNormalisation:
    """Lets torch's batch normalisations take mean and variance over the shares of all processes.

    Torch's own SyncBatchNorm does so on GPUs alone.

    Args:
        module: whose normalisations they are.
        processes: who has the shares.
    """

    def __init__(self, module: nn.Module, processes: Processes) -> None:
        self.processes = processes
        self.layers = [part for part in module.modules() if isinstance(part, nn.modules.batchnorm._BatchNorm)]

    @contextmanager
    def over_all_rows(self, active: bool = True, meet: Meet | None = None) -> Iterator[None]:
        """Inside, a layer in training mode waits for its like in every process; by ``meet``, if one is given."""
        forwards: dict[Any, Callable] = {layer: layer.forward for layer in self.layers if active}
        for layer, forward in forwards.items():
            layer.forward = _normalising(layer, forward, meet or self._met)
        try:
            yield
        finally:
            for layer in forwards:
                del layer.forward

    def _met(self, value: Tensor) -> Tensor:
        self.processes.total(0.0)  # raises the error of one that has failed since
        return self.processes.sum(value)


def _normalising(layer: Any, forward: Callable[[Tensor], Tensor], meet: Meet) -> Callable[[Tensor], Tensor]:
    def normalise(value: Tensor) -> Tensor:
        if not layer.training:
            return forward(value)
        layer._check_input_dim(value)
        result, mean, variance, rows = _Normalised.apply(value, layer.weight, layer.bias, layer.eps, meet)  # type: ignore[misc]
        if layer.track_running_stats:
            _track(layer, mean, variance * rows / (rows - 1))
        return result

    return normalise


class _Normalised(torch.autograd.Function):
    """The formula above; also mean, variance and the number of rows."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float, meet: Meet) -> Any:
        dims = [dim for dim in range(value.dim()) if dim != 1]
        wide = value.double()  # for the difference of squares
        own = wide.new_full((1,), value.numel() / value.shape[1])
        sums = meet(torch.cat([wide.sum(dims), wide.square().sum(dims), own]))
        rows = sums[-1]
        mean, square = (sums[:-1] / rows).chunk(2)
        variance = (square - mean.square()).clamp(min=0)
        inverse = (variance + eps).rsqrt()
        normal = _normal(value, mean, inverse)
        result = normal if weight is None else normal * _along(weight, normal)
        result = result if bias is None else result + _along(bias, normal)
        ctx.save_for_backward(value, weight, mean, inverse, rows)
        ctx.meet, ctx.has_bias = meet, bias is not None
        ctx.mark_non_differentiable(mean, variance, rows)
        return result.to(value.dtype), mean, variance, rows

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        value, weight, mean, inverse, rows = ctx.saved_tensors
        normal = _normal(value, mean, inverse)
        gradient = gradients[0].to(normal.dtype)
        dims = [dim for dim in range(value.dim()) if dim != 1]
        own = torch.cat([gradient.sum(dims), (gradient * normal).sum(dims)])
        plain, turned = (ctx.meet(own.double()) / rows).chunk(2)
        scale = inverse if weight is None else inverse * weight
        moved = gradient - _along(plain, normal) - normal * _along(turned, normal)
        of_bias, of_weight = own.chunk(2)
        return (
            (moved * _along(scale, normal)).to(value.dtype),
            None if weight is None else of_weight.to(weight.dtype),
            of_bias.to(value.dtype) if ctx.has_bias else None,
            *(None, None),
        )


def _normal(value: Tensor, mean: Tensor, inverse: Tensor) -> Tensor:
    exact = value.to(torch.promote_types(value.dtype, torch.float32))
    return (exact - _along(mean, exact)) * _along(inverse, exact)


def _along(channels: Tensor, value: Tensor) -> Tensor:
    """A number for each channel, as the value has them."""
    return channels.to(value.dtype).view([-1 if dim == 1 else 1 for dim in range(value.dim())])


@torch.no_grad()
def _track(layer: Any, mean: Tensor, variance: Tensor) -> None:
    layer.num_batches_tracked.add_(1)
    momentum = layer.momentum if layer.momentum is not None else 1 / layer.num_batches_tracked.item()
    layer.running_mean.lerp_(mean.to(layer.running_mean.dtype), momentum)
    layer.running_var.lerp_(variance.to(layer.running_var.dtype), momentum)
