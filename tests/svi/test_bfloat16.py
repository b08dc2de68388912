"""Products in bfloat16 against factors that are rounded by hand, and everything else against float32."""

import pytest
import torch
from torch import nn

from pyrometer.inference.svi.bfloat16 import BFloat16Products


def rounded(tensor):
    """To the nearest number with eight significant bits, ties to even, by arithmetic on the bits."""
    bits = tensor.float().view(torch.int32).long() & 0xFFFFFFFF
    bits = bits + 0x7FFF + ((bits >> 16) & 1) & 0xFFFF0000
    return torch.where(bits >= 2**31, bits - 2**32, bits).int().view(torch.float32)


def by_hand(a, b):
    return rounded(rounded(a) @ rounded(b))


PRODUCTS = {
    "mm": lambda a, b: a @ b,
    "bmm": lambda a, b: torch.bmm(a[None], b[None])[0],
    "linear": lambda a, b: nn.functional.linear(a, b.mT.contiguous()),
    "addmm": lambda a, b: torch.addmm(torch.full((5, 3), 0.3), a, b) - 0.3,
    "baddbmm": lambda a, b: torch.baddbmm(torch.full((1, 5, 3), 0.3), a[None], b[None])[0] - 0.3,
}


@pytest.mark.parametrize("name", PRODUCTS)
def test_products_have_rounded_factors_and_a_rounded_result(name):
    """Up to the last of the eight bits, which the order of a sum may turn."""
    a, b = torch.randn(5, 7), torch.randn(7, 3)
    with BFloat16Products():
        found = PRODUCTS[name](a, b)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, by_hand(a, b), rtol=2**-7, atol=1e-6)
    assert not torch.allclose(found, a @ b, rtol=1e-4, atol=0)


def test_rounding_by_hand_is_torchs_own():
    x = torch.cat([torch.randn(1000) * 10.0 ** torch.randint(-9, 9, (1000,)), torch.tensor([1 + 2**-8, 1 + 3 * 2**-8])])
    assert torch.equal(rounded(x), x.bfloat16().float())


def test_sums_in_a_product_are_float32():
    """A thousand ones and then some: in bfloat16 alone a sum stops at 256."""
    with BFloat16Products():
        found = torch.ones(1, 1024) @ torch.ones(1024, 1)
    assert found.item() == 1024.0


def test_gradients_of_a_layer_are_products_of_rounded_factors_as_well():
    x, layer = torch.randn(5, 7), nn.Linear(7, 3)
    with BFloat16Products():
        out = layer(x)
        seed = torch.randn(5, 3)
        weight, bias = torch.autograd.grad(out, [layer.weight, layer.bias], seed)
    torch.testing.assert_close(weight, by_hand(seed.mT, x), rtol=2**-7, atol=2**-8)
    torch.testing.assert_close(bias, seed.sum(0))  # a sum is no product
    assert weight.dtype == torch.float32


def test_everything_else_is_as_it_was():
    """Element by element, sums, and products and convolutions of float64."""
    a, b = torch.randn(6, 6), torch.randn(6, 6)
    operations = [
        lambda: a * b,
        lambda: (a + b).sum(),
        lambda: a.exp().log_softmax(-1),
        lambda: nn.functional.conv1d(a[None].double(), b[:, :, None].double()),
        lambda: a.double() @ b.double(),
    ]
    for operation in operations:
        plain = operation()
        with BFloat16Products():
            assert torch.equal(operation(), plain)


def test_outside_the_block_products_are_float32_again():
    a = torch.randn(5, 5)
    plain = a @ a
    with pytest.raises(KeyError), BFloat16Products():
        raise KeyError("inside")
    assert torch.equal(a @ a, plain)


def test_a_convolution_and_its_gradients_are_products_of_rounded_factors():
    """Its matrix of patches times its weights, taken apart by unfolding; and transposed convolutions with it."""
    image, layer = torch.randn(4, 3, 6, 5, requires_grad=True), nn.Conv2d(3, 7, 3, stride=2, padding=1)
    with BFloat16Products():
        out = layer(image)
        seed = torch.randn_like(out)
        found = torch.autograd.grad(out, [image, layer.weight, layer.bias], seed)
    exact = rounded(image).detach().requires_grad_(), rounded(layer.weight).detach().requires_grad_()
    expected = nn.functional.conv2d(*exact, None, 2, 1)
    slopes = torch.autograd.grad(expected, exact, rounded(seed))
    torch.testing.assert_close(out, expected + layer.bias[:, None, None], rtol=2**-7, atol=2**-7)
    torch.testing.assert_close(found[0], slopes[0], rtol=2**-7, atol=2**-7)
    torch.testing.assert_close(found[1], slopes[1], rtol=2**-7, atol=2**-6)
    torch.testing.assert_close(found[2], seed.sum((0, 2, 3)))
    assert not torch.allclose(out, layer(image), rtol=1e-4, atol=0)


def test_a_convolution_without_a_bias_is_rounded_as_well():
    image, layer = torch.randn(4, 3, 6, 5), nn.Conv2d(3, 7, 3, bias=False)
    with BFloat16Products():
        found = layer(image)
    expected = nn.functional.conv2d(rounded(image), rounded(layer.weight))
    torch.testing.assert_close(found, expected, rtol=2**-7, atol=2**-7)
