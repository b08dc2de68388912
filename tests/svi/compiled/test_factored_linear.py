"""A linear layer over expanded parts is split: the same numbers, fewer multiplications; other patterns stay."""

import pytest
import torch
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils.flop_counter import FlopCounterMode

from pyrometer.inference.svi.compiled.factored_linear import factor_linear

ROWS, STYLE, DIGITS, OUT = 20, 6, 10, 8


def joined(style, digit, axis=-1):
    """(10, 20, 16): each style with each digit."""
    shape = (DIGITS, ROWS)
    return torch.cat([style.expand(*shape, STYLE), digit[:, None].expand(*shape, DIGITS)], axis)


def with_bias(style, digit, weight, bias):
    return torch.nn.functional.linear(joined(style, digit), weight, bias).tanh().square().sum()


def without_bias(style, digit, weight, bias):
    return (joined(style, digit).reshape(-1, STYLE + DIGITS) @ weight.T).tanh().square().sum() + bias.sum()


def expanded_styles_only(style, digit, weight, bias):
    """The digits are as many as there are pairs."""
    many = (digit[:, None] * style.sum(-1)[None, :, None]).tanh()
    whole = torch.cat([style.expand(DIGITS, ROWS, STYLE), many], -1)
    return torch.nn.functional.linear(whole, weight, bias).square().sum()


def not_expanded(style, digit, weight, bias):
    whole = torch.cat([style.repeat(DIGITS, 1), digit.repeat_interleave(ROWS, 0)], -1)
    return torch.nn.functional.linear(whole, weight, bias).square().sum()


def along_rows(style, digit, weight, bias):  # noqa: ARG001
    whole = torch.cat([style[:, None].expand(ROWS, 3, STYLE), style[:, None].expand(ROWS, 3, STYLE)], 1)
    return torch.nn.functional.linear(whole, weight[:, :STYLE], bias).square().sum()


def inputs():
    style, digit = torch.randn(ROWS, STYLE), torch.eye(DIGITS)
    return style, digit, torch.randn(OUT, STYLE + DIGITS), torch.randn(OUT)


def gradients(loss):
    def evaluate(*given):
        leaves = [one.detach().requires_grad_() for one in given]
        value = loss(*leaves)
        return [value, *torch.autograd.grad(value, leaves, allow_unused=True)]

    return evaluate


def traced(loss):
    return make_fx(gradients(loss))(*inputs())


def flops(graph, given):
    with FlopCounterMode(display=False) as counter:
        graph(*given)
    return counter.get_total_flops()


@pytest.mark.parametrize("loss", [with_bias, without_bias])
def test_the_split_layer_has_the_value_and_gradients_of_the_whole(loss):
    """Against autograd of the layer as written, at another point than the traced one."""
    graph, given = traced(loss), inputs()
    before = flops(graph, given)
    assert factor_linear(graph) >= 2  # forwards, and the gradient of the weight
    expected = gradients(loss)(*given)
    for found, by_autograd in zip(graph(*given), expected, strict=True):
        torch.testing.assert_close(found, by_autograd, rtol=1e-4, atol=1e-4)
    assert flops(graph, given) < 0.7 * before


def test_the_multiplications_of_the_split_layer_are_as_many_as_the_parts_have():
    """Forwards 2 O (20 * 6 + 10 * 10) flops, where there were 2 O * 200 * 16."""

    def forwards(style, digit, weight, bias):
        return torch.nn.functional.linear(joined(style, digit), weight, bias)

    given = inputs()
    graph = make_fx(forwards)(*given)
    assert flops(graph, given) == 2 * OUT * DIGITS * ROWS * (STYLE + DIGITS)
    assert factor_linear(graph) == 1
    assert flops(graph, given) == 2 * OUT * (ROWS * STYLE + DIGITS * DIGITS)
    torch.testing.assert_close(graph(*given), forwards(*given))


@pytest.mark.parametrize("loss", [expanded_styles_only, not_expanded, along_rows])
def test_other_patterns_are_left_as_they_are(loss):
    graph = traced(loss)
    code = graph.code
    assert factor_linear(graph) == 0
    assert graph.code == code
