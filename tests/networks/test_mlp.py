"""The perceptron against its formula written out, and its smoothness by finite differences."""

import pytest
import torch

from pyrometer.networks import mlp


def test_the_perceptron_is_its_formula():
    net = mlp(3, 5, 4, 2).double()
    x = torch.randn(6, 7, 3, dtype=torch.float64)
    weights = dict(net.named_parameters())
    hidden = x
    for layer in (0, 2):
        affine = hidden @ weights[f"{layer}.weight"].T + weights[f"{layer}.bias"]
        hidden = affine / (1 + (-affine).exp())
    torch.testing.assert_close(net(x), hidden @ weights["4.weight"].T + weights["4.bias"])


def test_two_sizes_are_one_affine_map():
    net = mlp(3, 2)
    x = torch.randn(4, 3)
    torch.testing.assert_close(net(x), x @ net[0].weight.T + net[0].bias)


def test_its_gradient_bends():
    """Oracle: differences of the gradient; a network with kinks has a Hessian of zero wherever it has one."""
    net = mlp(3, 20, 20, 1).double()
    x, step = torch.randn(3, dtype=torch.float64), 1e-5
    hessian = torch.autograd.functional.hessian(lambda point: net(point).squeeze(), x)
    shifts = step * torch.eye(3, dtype=torch.float64)
    gradient = torch.func.grad(lambda point: net(point).squeeze())
    differences = torch.stack([gradient(x + one) - gradient(x - one) for one in shifts]) / (2 * step)
    torch.testing.assert_close(hessian, differences, rtol=1e-5, atol=1e-8)
    assert hessian.abs().max() > 1e-3


def test_a_new_network_keeps_the_size_of_its_input():
    """Oracle: inputs of mean square 1, through networks with one affine map more each time."""
    x = torch.randn(2000, 300)
    for depth in (1, 2, 3, 4):
        outputs = torch.stack([mlp(*[300] * (depth + 1))(x).detach() for _ in range(5)])
        assert outputs.square().mean().item() == pytest.approx(1.0, abs=0.1), depth


def test_one_size_is_no_network():
    with pytest.raises(ValueError, match=r"at least an input and an output, got \(3,\)"):
        mlp(3)
