"""The device and the precision of a training, by Lightning Fabric."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from torch import Tensor
from torch.optim import Optimizer

from .bfloat16 import has_bfloat16_products
from .data import Batch, Unconverted
from .objective import Numbers
from .pair import Pair
from .processes import process_count

if TYPE_CHECKING:
    from lightning.fabric import Fabric

__all__ = ["make_fabric", "set_up"]


def make_fabric(accelerator: str, precision: Any) -> "Fabric":
    """One device, chosen and described as Lightning Fabric does; under torchrun one for each process.

    Raises:
        ValueError: Fabric does not know the accelerator or precision, or numbers are to be float16.
    """
    from lightning.fabric import Fabric  # an import of seconds, so only where it is needed

    own = "32-true" if precision == "bf16" else precision
    if process_count() > 1:
        from .strategy import parallel_fabric

        fabric = parallel_fabric(accelerator, own)
    else:
        fabric = Fabric(accelerator=accelerator, devices=1, precision=own)
    if precision == "bf16" and not has_bfloat16_products(fabric.device):
        raise ValueError(
            f'precision="bf16" needs a processor that multiplies bfloat16 numbers, which that of {fabric.device} does '
            'not: leave it at "32-true", which is faster there.'
        )
    if fabric.strategy.precision.precision.startswith("16"):
        raise ValueError(
            f"precision must not be {precision!r}: float16 ends at 65504, and sums of log-probabilities do not. "
            'Pass "bf16" or "32-true".'
        )
    return fabric


Loss = Callable[[Batch, Numbers], Tensor]
"""Of a batch, with the objective's numbers at this moment of the training."""


def set_up(fabric: "Fabric", pair: Pair, optimizer: Optimizer) -> tuple[Loss, Optimizer]:
    """The loss of a batch, evaluated in the precision of the training, and the optimizer.

    Mixed precision rounds what goes into matrix products; data stay as they are, since a log-probability of rounded
    observations is that of other observations.
    """
    module, wrapped = fabric.setup(pair, optimizer)
    precision = fabric.strategy.precision.precision
    if precision == "32-true":
        return pair, optimizer  # the wrappers would do nothing here and cost some percent of a small step
    if precision.endswith("mixed"):
        return lambda batch, numbers: module(Unconverted(batch), numbers), wrapped
    return module, wrapped
