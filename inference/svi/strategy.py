"""Lightning Fabric in the processes that torchrun has started: one device for each, and no wrapper around modules."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from lightning.fabric import Fabric
from lightning.fabric.strategies.ddp import DDPStrategy
from torch import nn

__all__ = ["SummedGradients", "parallel_fabric"]


class SummedGradients(DDPStrategy):
    """Fabric's data-parallel strategy, without torch's DistributedDataParallel.

    That wrapper sees only gradients of module parameters that arrive by ``backward`` of a forward pass, and takes their
    mean. Parameters of Pyro's store are in no module, TraceGraph_ELBO calls ``backward`` itself, and a loss here is a
    sum: so the training adds the gradients up itself.
    """

    def setup_module(self, module: nn.Module) -> Any:
        """The module as it is."""
        return module


def parallel_fabric(accelerator: str, precision: Any) -> Fabric:
    """Fabric with a device for each process, in touch with the others: gloo on CPUs, nccl on GPUs.

    Raises:
        ValueError: there are GPUs, and fewer than processes here.
    """
    here, gpus = int(os.environ["LOCAL_WORLD_SIZE"]), torch.cuda.device_count()
    if accelerator in ("auto", "gpu", "cuda") and 0 < gpus < here:
        raise ValueError(
            f"{here} processes need a GPU each, and here are {gpus}: start fewer, or pass accelerator='cpu' to fit."
        )
    nodes = int(os.environ["WORLD_SIZE"]) // here
    fabric = Fabric(
        accelerator=accelerator, devices=here, num_nodes=nodes, strategy=SummedGradients(), precision=precision
    )
    with _silence():
        fabric.launch()
    return fabric


@contextmanager
def _silence() -> Iterator[None]:
    # Lightning announces each process on standard error.
    loggers = [logging.getLogger(name) for name in ("lightning.fabric", "lightning.pytorch")]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.WARNING)
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
