"""Convolutions of a graph against those of the same program in a block of products in bfloat16."""

import torch
from torch import nn
from torch.fx.experimental.proxy_tensor import make_fx
from torch.fx.passes.fake_tensor_prop import FakeTensorProp

from pyrometer.inference.svi.bfloat16 import BFloat16Products
from pyrometer.inference.svi.compiled.products import take_products


def gradients(image, weight, bias):
    """Of a loss on a convolution: its value, and the gradient by each."""
    leaves = [one.detach().requires_grad_() for one in (image, weight, bias)]
    loss = nn.functional.conv2d(*leaves, stride=2, padding=1).square().sum()
    return [loss, *torch.autograd.grad(loss, leaves)]


def captured(*inputs):
    graph = make_fx(gradients)(*inputs)
    FakeTensorProp(graph).propagate(*inputs)
    return graph


def test_convolutions_and_their_gradients_are_those_of_plain_steps_in_bfloat16():
    inputs = torch.randn(4, 3, 8, 6), torch.randn(5, 3, 3, 3), torch.randn(5)
    graph = captured(*inputs)
    assert take_products(graph, "bf16") == 2
    with BFloat16Products():
        plain = gradients(*inputs)
    for one, other, exact in zip(graph(*inputs), plain, gradients(*inputs), strict=True):
        torch.testing.assert_close(one, other)
        assert not torch.allclose(one, exact, rtol=1e-5, atol=0)


def test_convolutions_of_float64_and_those_of_float32_trainings_stay_as_they_are():
    inputs = torch.randn(4, 3, 8, 6), torch.randn(5, 3, 3, 3), torch.randn(5)
    assert take_products(captured(*(one.double() for one in inputs)), "bf16") == 0
    graph = captured(*inputs)
    take_products(graph, "onednn")
    for one, exact in zip(graph(*inputs), gradients(*inputs), strict=True):
        torch.testing.assert_close(one, exact)
