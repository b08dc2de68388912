"""The linear map per class against one torch.nn.functional.linear for each element."""

import pytest
import torch
from torch.nn.functional import linear

from pyrometer.networks import ClassLinear


def one_by_one(layer, x, category):
    shape = torch.broadcast_shapes(x.shape[:-1], category.shape)
    rows = x.expand(*shape, x.shape[-1]).reshape(-1, x.shape[-1])
    classes = category.expand(shape).reshape(-1)
    out = [linear(row, layer.weight[k], layer.bias[k]) for row, k in zip(rows, classes, strict=True)]
    return torch.stack(out).reshape(*shape, -1)


@pytest.mark.parametrize(
    ("x_shape", "category_shape"),
    [
        ((7,), (7,)),
        ((30,), (4, 1)),
        ((4, 30), (4, 1)),
        ((5, 6), (5, 6)),
        ((6,), ()),
        ((2, 1, 3), (2, 4, 1)),
        ((3,), (4, 1)),
    ],
)
def test_every_shape_of_classes_gives_the_map_of_its_class(x_shape, category_shape):
    layer = ClassLinear(classes=4, inputs=3, outputs=2).double()
    x = torch.randn(*x_shape, 3, dtype=torch.float64)
    category = torch.randint(4, category_shape)
    torch.testing.assert_close(layer(x, category), one_by_one(layer, x, category))


def test_both_routes_have_the_same_gradient():
    layer = ClassLinear(classes=4, inputs=3, outputs=2).double()
    x = torch.randn(30, 3, dtype=torch.float64)
    enumerated = torch.arange(4)[:, None]
    weights = torch.randn(4, 30, 2, dtype=torch.float64)
    routes = [layer._few_categories(x, enumerated), layer._many_categories(x, enumerated)]
    gradients = [torch.autograd.grad((weights * y).sum(), [layer.weight, layer.bias]) for y in routes]
    for few, many in zip(*gradients, strict=True):
        torch.testing.assert_close(few, many)
