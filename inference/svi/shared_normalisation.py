"""Batch normalisation over the rows of a whole batch, of which each process has a share."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from .processes import Processes

__all__ = ["SharedNormalisation"]


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
    def over_all_rows(self, active: bool = True) -> Iterator[None]:
        """Inside, a layer in training mode waits for its like in every process."""
        forwards: dict[Any, Callable] = {layer: layer.forward for layer in self.layers if active}
        for layer, forward in forwards.items():
            layer.forward = self._forward(layer, forward)
        try:
            yield
        finally:
            for layer in forwards:
                del layer.forward

    def _forward(self, layer: Any, forward: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
        def normalise(value: Tensor) -> Tensor:
            return self._normalise(layer, value) if layer.training else forward(value)

        return normalise

    def _normalise(self, layer: Any, value: Tensor) -> Tensor:
        layer._check_input_dim(value)
        dims = [dim for dim in range(value.dim()) if dim != 1]
        shape = [-1 if dim == 1 else 1 for dim in range(value.dim())]
        rows = self.processes.total(value.numel() / value.shape[1])
        wide = value.double()  # for the difference of squares
        sums: Any = _Sum.apply(torch.cat([wide.sum(dims), wide.square().sum(dims)]), self.processes)
        mean, square = (sums / rows).chunk(2)
        variance = (square - mean.square()).clamp(min=0)
        if layer.track_running_stats:
            _track(layer, mean, variance * rows / (rows - 1))
        scaled = (wide - mean.view(shape)) * (variance + layer.eps).rsqrt().view(shape)
        if layer.affine:
            scaled = scaled * layer.weight.view(shape) + layer.bias.view(shape)
        return scaled.to(value.dtype)


class _Sum(torch.autograd.Function):
    """The sum over processes; as each adds its loss to the whole, so does its gradient."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, processes: Processes) -> Tensor:
        ctx.processes = processes
        return processes.sum(value)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        ctx.processes.total(0.0)  # raises the error of one that has failed since
        return ctx.processes.sum(gradients[0]), None


@torch.no_grad()
def _track(layer: Any, mean: Tensor, variance: Tensor) -> None:
    layer.num_batches_tracked.add_(1)
    momentum = layer.momentum if layer.momentum is not None else 1 / layer.num_batches_tracked.item()
    layer.running_mean.lerp_(mean.to(layer.running_mean.dtype), momentum)
    layer.running_var.lerp_(variance.to(layer.running_var.dtype), momentum)
