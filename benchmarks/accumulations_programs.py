"""Small programs whose gradients, or which themselves, sum into places of a tensor, or might."""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch._higher_order_ops.while_loop import while_loop_op

__all__ = ["PROGRAMS", "Program"]

ROWS = 10


class Program(NamedTuple):
    """A function of tensors and, of each of its arguments, the shape; of whole numbers below a bound, that too."""

    function: Callable[..., Tensor]
    shapes: tuple[tuple[int, ...] | tuple[tuple[int, ...], int], ...]

    def inputs(self) -> list[Tensor]:
        """Arguments: normal numbers or, where a bound is given, places, most of them there several times."""
        found = []
        for shape in self.shapes:
            bounded = len(shape) == 2 and isinstance(shape[0], tuple)
            found.append(torch.randint(shape[1], shape[0]) if bounded else torch.randn(shape))  # pyright: ignore
        return found


WEIGHT, PLACES, VALUES = (ROWS, 19, 21), ((30,), ROWS), (30, 19, 21)
TABLE, IMAGE = (ROWS, 21), (3, 10, 19, 21)


def _of_weight(function: Callable[[Tensor, Tensor], Tensor]) -> Program:
    return Program(function, (WEIGHT, PLACES))


def _of_values(function: Callable[[Tensor, Tensor, Tensor], Tensor]) -> Program:
    return Program(function, (WEIGHT, PLACES, VALUES))


def _of_image(function: Callable[..., Tensor], *arguments: Any, **options: Any) -> Program:
    return Program(lambda image: function(image, *arguments, **options), (IMAGE,))


def _spread(function: Callable[[Tensor, Tensor, Tensor], Tensor]) -> Program:
    """Of places that are given for each value."""
    return Program(function, (WEIGHT, ((30, 19, 21), ROWS), VALUES))


def _in_a_loop(weight: Tensor, places: Tensor, values: Tensor) -> Tensor:
    """A few times, inside a loop of the compiled code."""

    def goes_on(step: Tensor, *_others: Tensor) -> Tensor:
        return step < 3

    def body(step: Tensor, total: Tensor, places: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        new = 0.1 * total[places] + values.transpose(1, 2)
        return step + 1, torch.index_put(torch.zeros_like(total), [places], new, accumulate=True)

    first: Any = torch.zeros((), dtype=torch.int64), weight.detach().clone()
    return while_loop_op(goes_on, body, first, (places, values.detach()))[1]


INDEXING = {
    "weight[k]": _of_weight(lambda w, k: w[k]),
    "weight[:, k]": _of_weight(lambda w, k: w[:, k]),
    "weight[..., k]": _of_weight(lambda w, k: w[..., k]),
    "weight[k, l]": _of_weight(lambda w, k: w[k, k.flip(0)]),
    "weight[k, :, l]": _of_weight(lambda w, k: w[k, :, k.flip(0)]),
    "weight[k], k of two dimensions": Program(lambda w, k: w[k], (WEIGHT, ((5, 6), ROWS))),
    "weight[k], k negative": _of_weight(lambda w, k: w[k - ROWS]),
    "weight[k], float64": _of_weight(lambda w, k: w.double()[k]),
    "weight[range]": _of_weight(lambda w, k: w[torch.arange(ROWS)] * k.sum()),
    "index_put, accumulate": _of_values(lambda w, k, v: torch.index_put(w, [k], v, accumulate=True)),
    "index_put of transposed values": Program(
        lambda v: torch.index_put(v.new_zeros(10, 100, 5), [torch.arange(10)], v.transpose(1, 2), accumulate=True),
        ((10, 5, 100),),
    ),
    "in a loop": Program(_in_a_loop, (WEIGHT, PLACES, (30, 21, 19))),
    "put, accumulate": Program(lambda w, k, v: w.put(k, v, accumulate=True), (WEIGHT, PLACES, (30,))),
    "take": Program(torch.take, (WEIGHT, ((31, 23), 3000))),
    "gather": Program(lambda w, k: w.gather(0, k), (WEIGHT, ((30, 19, 21), ROWS))),
    "take_along_dim": Program(lambda w, k: torch.take_along_dim(w, k, 1), (WEIGHT, ((10, 30, 21), 19))),
    "index_select, axis 0": _of_weight(lambda w, k: w.index_select(0, k)),
    "index_select, axis 1": _of_weight(lambda w, k: w.index_select(1, k)),
    "index_add, axis 0": _of_values(lambda w, k, v: w.index_add(0, k, v)),
    "index_add, axis 1": Program(lambda w, k, v: w.index_add(1, k, v, alpha=2), (WEIGHT, PLACES, (ROWS, 30, 21))),
    "index_reduce, mean": _of_values(lambda w, k, v: w.index_reduce(0, k, v, "mean")),
    "index_reduce, amax": _of_values(lambda w, k, v: w.index_reduce(0, k, v, "amax")),
    "index_copy": Program(lambda w, v: w.index_copy(0, torch.tensor([3, 1]), v), (WEIGHT, (2, 19, 21))),
    "scatter": Program(
        lambda w, v: w.scatter(0, torch.arange(ROWS).flip(0)[:, None, None].expand_as(v), v), (WEIGHT, WEIGHT)
    ),
    "scatter_add": _spread(lambda w, k, v: w.scatter_add(0, k, v)),
    "scatter, add": _spread(lambda w, k, v: w.detach().scatter(0, k, v.detach(), reduce="add")),
    "scatter_reduce, sum": _spread(lambda w, k, v: w.scatter_reduce(0, k, v, "sum")),
    "scatter_reduce, prod": _spread(lambda w, k, v: w.scatter_reduce(0, k, v, "prod")),
    "scatter_reduce, amax": _spread(lambda w, k, v: w.scatter_reduce(0, k, v, "amax")),
    "scatter_reduce, mean": _spread(lambda w, k, v: w.scatter_reduce(0, k, v, "mean", include_self=False)),
    "embedding": Program(F.embedding, (((5, 6), ROWS), TABLE)),
    "embedding, one list": Program(F.embedding, (PLACES, TABLE)),
    "embedding, padding": Program(lambda k, w: F.embedding(k, w, padding_idx=3), (((5, 6), ROWS), TABLE)),
    "embedding, by frequency": Program(
        lambda k, w: F.embedding(k, w, scale_grad_by_freq=True), (((5, 6), ROWS), TABLE)
    ),
    "embedding_bag, sum": Program(lambda k, w: F.embedding_bag(k, w, mode="sum"), (((5, 6), ROWS), TABLE)),
    "embedding_bag, mean": Program(lambda k, w: F.embedding_bag(k, w, mode="mean"), (((5, 6), ROWS), TABLE)),
    "embedding_bag, max": Program(lambda k, w: F.embedding_bag(k, w, mode="max"), (((5, 6), ROWS), TABLE)),
    "as_strided, overlapping": Program(lambda w: w.as_strided((30, 40), (20, 1)), (WEIGHT,)),
    "unfold, overlapping": Program(lambda w: w.unfold(1, 5, 2), (WEIGHT,)),
    "cross entropy": Program(lambda x, k: F.cross_entropy(x, k, reduction="none"), ((30, ROWS), PLACES)),
}
"""What reads or writes at places that data give."""

WINDOWS = {
    "max_pool1d": Program(lambda x: F.max_pool1d(x, 3, 1), (WEIGHT,)),
    "max_pool2d, stride 2": _of_image(F.max_pool2d, 3, 2, 1),
    "max_pool2d, stride 1": _of_image(F.max_pool2d, 5, 1),
    "max_pool2d, dilated": _of_image(F.max_pool2d, 3, 1, 1, 2),
    "max_pool2d, channels last": Program(
        lambda x: F.max_pool2d(x.contiguous(memory_format=torch.channels_last), 3, 1), (IMAGE,)
    ),
    "max_pool3d": _of_image(F.max_pool3d, 3, 1),
    "max_unpool2d": Program(
        lambda x: F.max_unpool2d(*F.max_pool2d(x, 2, return_indices=True), [2]), ((3, 10, 18, 20),)
    ),
    "adaptive_max_pool2d": _of_image(F.adaptive_max_pool2d, (4, 5)),
    "adaptive_avg_pool2d": _of_image(F.adaptive_avg_pool2d, (4, 5)),
    "adaptive_avg_pool3d": _of_image(F.adaptive_avg_pool3d, (3, 4, 5)),
    "fractional_max_pool2d": Program(
        lambda x, r: F.fractional_max_pool2d(x, 3, (7, 8), _random_samples=r.detach().sigmoid()), (IMAGE, (3, 10, 2))
    ),
    "avg_pool2d": _of_image(F.avg_pool2d, 3, 2, 1),
    "avg_pool3d": _of_image(F.avg_pool3d, 3, 1),
    "interpolate, nearest": _of_image(F.interpolate, size=(30, 33)),
    "interpolate, nearest, smaller": _of_image(F.interpolate, size=(7, 8)),
    "interpolate, nearest-exact": _of_image(F.interpolate, size=(30, 33), mode="nearest-exact"),
    "interpolate, area": _of_image(F.interpolate, size=(7, 8), mode="area"),
    "interpolate, linear": Program(lambda x: F.interpolate(x, size=33, mode="linear"), (WEIGHT,)),
    "interpolate, bilinear": _of_image(F.interpolate, size=(30, 33), mode="bilinear"),
    "interpolate, bicubic": _of_image(F.interpolate, size=(30, 33), mode="bicubic"),
    "interpolate, trilinear": Program(lambda x: F.interpolate(x[None], size=(12, 20, 25), mode="trilinear"), (IMAGE,)),
    "grid_sample": Program(
        lambda x, g: F.grid_sample(x, g.tanh(), align_corners=False), ((3, 10, 19, 21), (3, 17, 18, 2))
    ),
    "grid_sample, nearest, reflected": Program(
        lambda x, g: F.grid_sample(x, g, "nearest", "reflection", align_corners=True),
        ((3, 10, 19, 21), (3, 17, 18, 2)),
    ),
    "grid_sample, bicubic": Program(
        lambda x, g: F.grid_sample(x, g.tanh(), "bicubic", align_corners=False), ((3, 10, 19, 21), (3, 17, 18, 2))
    ),
    "affine_grid and grid_sample": Program(
        lambda x, t: F.grid_sample(x, F.affine_grid(t, [3, 10, 17, 18], align_corners=False), align_corners=False),
        ((3, 10, 19, 21), (3, 2, 3)),
    ),
    "pad, reflect, 1d": Program(lambda x: F.pad(x, (3, 5), "reflect"), (WEIGHT,)),
    "pad, reflect, 2d": _of_image(F.pad, (3, 5, 2, 4), "reflect"),
    "pad, reflect, 3d": Program(lambda x: F.pad(x[None], (3, 5, 2, 4, 1, 2), "reflect"), (IMAGE,)),
    "pad, replicate, 1d": Program(lambda x: F.pad(x, (3, 5), "replicate"), (WEIGHT,)),
    "pad, replicate, 2d": _of_image(F.pad, (3, 5, 2, 4), "replicate"),
    "pad, replicate, 3d": Program(lambda x: F.pad(x[None], (3, 5, 2, 4, 1, 2), "replicate"), (IMAGE,)),
    "pad, circular": _of_image(F.pad, (3, 5, 2, 4), "circular"),
    "im2col": _of_image(F.unfold, 3, stride=2),
    "col2im": Program(lambda x: F.fold(x, (19, 21), 3, stride=2), ((3, 18, 90),)),
    "col2im, dilated": Program(lambda x: F.fold(x, (19, 21), 3, dilation=2, padding=1), ((3, 18, 323),)),
    "pixel_shuffle": Program(lambda x: F.pixel_shuffle(x, 2), ((3, 12, 9, 10),)),
}
"""What reads in windows, or between places."""

OTHERS = {
    "cumsum": Program(lambda w: w.cumsum(1), (WEIGHT,)),
    "cumprod": Program(lambda w: w.cumprod(1), ((ROWS, 7, 21),)),
    "logcumsumexp": Program(lambda w: w.logcumsumexp(1), (WEIGHT,)),
    "cummax": Program(lambda w: w.cummax(1).values, (WEIGHT,)),
    "sort": Program(lambda w: w.sort(1).values, (WEIGHT,)),
    "topk": Program(lambda w: w.topk(5, 1).values, (WEIGHT,)),
    "kthvalue": Program(lambda w: w.kthvalue(5, 1).values, (WEIGHT,)),
    "median": Program(lambda w: w.median(1).values, (WEIGHT,)),
    "max": Program(lambda w: w.max(1).values, (WEIGHT,)),
    "max, axis 0": Program(lambda w: w.max(0).values, (WEIGHT,)),
    "argmax, transposed": Program(lambda w: w.transpose(1, 2).contiguous().argmax(2).float(), (WEIGHT,)),
    "argmin, axis 0": Program(lambda w: w.transpose(0, 2).argmin(0).float(), (WEIGHT,)),
    "logsumexp, axis 0": Program(lambda w: w.logsumexp(0), (WEIGHT,)),
    "repeat": Program(lambda w: w.repeat(2, 1, 3), (WEIGHT,)),
    "repeat_interleave": Program(lambda w: w.repeat_interleave(3, 1), (WEIGHT,)),
    "roll": Program(lambda w: w.roll((3, 5), (0, 2)), (WEIGHT,)),
    "diagonal": Program(lambda w: w.diagonal(0, 1, 2), (WEIGHT,)),
    "histc": Program(lambda w: w.detach().histc(12, -2.0, 2.0), (WEIGHT,)),
    "bucketize": Program(lambda w: w[torch.bucketize(w[:, 0, 0], torch.tensor([-1.0, 0.0, 1.0]))], (WEIGHT,)),
    "cdist": Program(torch.cdist, ((ROWS, 19, 21), (ROWS, 17, 21))),
    "segment_reduce": Program(
        lambda w: torch.segment_reduce(w, "sum", lengths=torch.tensor([2, 5, 3]), unsafe=True), (TABLE,)
    ),
    "convolution": Program(F.conv2d, (IMAGE, (5, 10, 3, 3))),
}
"""What has no place in it that data give, as a control."""

PROGRAMS: dict[str, Program] = {**INDEXING, **WINDOWS, **OTHERS}
