"""What the benchmark of speed measures: a model and its guide, and the same step written by hand in three other ways.

One step is one batch, the same at every step: the loss, its gradient, and Adam. Feeding data is no part of it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from pyro.infer import ELBO
from torch import Tensor

__all__ = ["HandWritten", "JaxProgram", "Product", "Run", "SpeedPair", "layer"]

Run = Callable[[int], Sequence[Any]]
"""Takes so many steps, from where the last call ended, and gives their losses, one by one or in arrays."""

Product = tuple[int, int, int]
"""A multiplication of matrices of shapes (m, k) and (k, n), as (m, k, n)."""


class HandWritten(NamedTuple):
    """A step in plain torch: the parameters that Adam moves, and the loss of the batch with fresh noise."""

    parameters: list[Tensor]
    loss: Callable[[], Tensor]


class JaxProgram(NamedTuple):
    """A step in NumPyro: a model and a guide of the data, an ELBO, and the shapes of the noise in the order drawn."""

    model: Callable
    guide: Callable
    loss: Any
    noise: list[tuple[int, ...]]


@dataclass(frozen=True)
class SpeedPair:
    """One pair and everything that it is compared with. All builders give the same initial weights at every call.

    Attributes:
        name: the heading of its table.
        words: what one step is, in a sentence.
        data: the tensors of the batch by the name of the argument, in the arguments' order.
        programs: makes the model and the guide.
        objective: makes the ELBO.
        traced_objective: makes the ELBO that Pyro runs through torch.jit.
        by_hand: how each hand-written step is called, and what makes it; the best of float32 comes last.
        numpyro: makes the NumPyro step.
        products: the multiplications that a step cannot do without, by how the step is written; likewise.
        mixed: whether bfloat16 is measured too.
        rate: Adam's learning rate.
    """

    name: str
    words: str
    data: dict[str, Tensor]
    programs: Callable[[], tuple[Callable, Callable]]
    objective: Callable[[], ELBO]
    traced_objective: Callable[[], ELBO]
    by_hand: Mapping[str, Callable[[], HandWritten]]
    numpyro: Callable[[], JaxProgram]
    products: Mapping[str, list[Product]] = field(default_factory=dict)
    mixed: bool = False
    rate: float = 1e-3


def layer(rows: int, inputs: int, outputs: int, moves_input: bool = True) -> list[Product]:
    """The products of a linear layer: forwards, for its weights and, unless the input is data, for its input.

    Example:
        >>> layer(200, 784, 500, moves_input=False)
        [(200, 784, 500), (500, 200, 784)]
    """
    return [(rows, inputs, outputs), (outputs, rows, inputs), *([(rows, outputs, inputs)] if moves_input else [])]
