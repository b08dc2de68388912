"""A graph that torch's compiler alone compiles wrongly: a sum into places, of values that are transposed."""

from typing import Any

import torch
from torch import Tensor
from torch._inductor import config
from torch.fx.experimental.proxy_tensor import make_fx

__all__ = ["main"]


def summed(values: Tensor) -> list[Tensor]:
    """Values into a tensor of zeros, in order."""
    zeros, places = values.new_zeros(10, 100, 5), torch.arange(10)
    return [torch.ops.aten.index_put.default(zeros, [places], values.transpose(1, 2), True)]


def main() -> None:
    """Compile it without the package's options, and run it with two threads and vectors of 256 bits."""
    torch.set_num_threads(2)
    values = torch.randn(10, 5, 100)
    graph = make_fx(summed)(values)
    with config.patch({"cpp.simdlen": 256}):
        fast: Any = torch._inductor.compile(graph, [values])
        fast(values)


if __name__ == "__main__":
    main()
