"""Recorded calls, made again, are the function itself: by the numbers of calls from Python."""

import sys

import pytest
import torch

from pyrometer.inference.compiler import compile_at
from pyrometer.inference.svi.compiled.native_products import native_product
from pyrometer.inference.svi.compiled.replay import NotReplayable, Replay, Rows

pytestmark = pytest.mark.usefixtures("compiler")


def stepping(loss, weight, rate, x):
    """A step downhill on (w . x)^2 / 2, with a product of matrices in between, which is no kernel of the compiler's."""
    seen = (x @ weight).sin()
    loss.copy_(0.5 * (seen * seen).sum())
    weight.sub_(rate * (x.t() @ (seen * (x @ weight).cos())))
    return []


def given():
    generator = torch.Generator().manual_seed(3)
    return [
        torch.zeros((), dtype=torch.float64),
        torch.randn(5, 3, generator=generator),
        torch.tensor(0.1),
        torch.randn(7, 5, generator=generator),
    ]


def test_replayed_steps_are_those_of_the_function_with_rows_of_their_own():
    """Losses and weights after 6 steps, each with a rate and data of its own; the recording itself moves nothing."""
    inputs, expected = given(), given()
    rates, data = torch.linspace(0.05, 0.3, 6), torch.randn(6, 7, 5)
    function = compile_at(stepping, inputs, {"cpp.threads": 1})
    replay = Replay(function, inputs, inputs[0])
    assert torch.equal(inputs[1], given()[1])

    losses = replay.run(6, [Rows(rates, inputs[2]), Rows(data, inputs[3])])

    wanted = []
    for rate, x in zip(rates, data, strict=True):
        stepping(*expected[:2], rate, x)
        wanted.append(expected[0].item())
    assert losses == pytest.approx(wanted, rel=1e-5)
    torch.testing.assert_close(inputs[1], expected[1], rtol=1e-5, atol=1e-6)


def test_a_replay_ends_after_a_loss_that_is_not_finite():
    inputs = given()
    data = torch.randn(5, 7, 5)
    data[2, 0, 0] = torch.nan
    replay = Replay(compile_at(stepping, inputs, {"cpp.threads": 1}), inputs, inputs[0])
    losses = replay.run(5, [Rows(data, inputs[3])])
    assert len(losses) == 3
    assert [loss == loss for loss in losses] == [True, True, False]


def test_rows_that_are_not_dense_are_read_as_they_lie():
    """Every other number of memory, as noise that is drawn number by number."""
    inputs = given()
    inputs[3] = torch.zeros(7, 5, 2)[..., 0]
    rows = torch.randn(4, 7, 5, 2)[..., 0]
    inputs[3].copy_(rows[0])
    expected = [inputs[0].clone(), inputs[1].clone(), inputs[2]]
    replay = Replay(compile_at(stepping, inputs, {"cpp.threads": 1}), inputs, inputs[0])
    losses = replay.run(4, [Rows(rows, inputs[3])])
    wanted = []
    for x in rows:
        stepping(*expected, x)
        wanted.append(expected[0].item())
    assert losses == pytest.approx(wanted, rel=1e-5)


def test_an_error_inside_a_replay_is_raised_by_it():
    """Of one of torch's operations, which C calls back for."""
    inputs = given()
    replay = Replay(compile_at(stepping, inputs, {"cpp.threads": 1}), inputs, inputs[0])
    replay.failure = MemoryError("no room")  # as an operation leaves it
    with pytest.raises(MemoryError, match="no room"):
        replay.run(1, [])
    assert len(replay.run(2, [])) == 2


def test_a_function_that_the_compiler_has_not_made_is_not_replayed():
    inputs = given()
    with pytest.raises(NotReplayable, match="no code that torch's compiler"):
        Replay(stepping, inputs, inputs[0])


def test_a_profiler_of_the_user_stays():
    inputs = given()
    function = compile_at(stepping, inputs, {"cpp.threads": 1})
    seen = []

    def profiler(_frame, event, _argument):
        seen.append(event)

    sys.setprofile(profiler)
    try:
        Replay(function, inputs, inputs[0])
        kept = sys.getprofile()
    finally:
        sys.setprofile(None)
    assert kept is profiler


def test_products_are_called_in_torchs_library_and_factors_are_left_to_python():
    """A plain product has an address; one with a factor, and any other operation, has none."""
    left, right, out = torch.randn(3, 4), torch.randn(4, 2), torch.zeros(3, 2)
    plain = native_product(torch.ops.aten.addmm.out, (torch.ones(2), left, right), {"out": out, "alpha": 1})
    assert plain is not None
    assert len(plain.arguments) == 5
    assert native_product(torch.ops.aten.addmm.out, (torch.ones(2), left, right), {"out": out, "alpha": 2}) is None
    assert native_product(torch.ops.aten.exp.out, (left,), {"out": left}) is None


def test_a_sum_and_a_product_are_what_torch_makes_of_them():
    """A layer with a bias, beside the function itself, over steps."""

    def layered(loss, bias, weight, x):
        seen = torch.addmm(bias, x, weight).tanh()
        loss.copy_(seen.square().sum())
        bias.sub_(0.1 * seen.sum(0))
        return []

    generator = torch.Generator().manual_seed(4)
    inputs = [
        torch.zeros((), dtype=torch.float64),
        torch.randn(3, generator=generator),
        torch.randn(5, 3, generator=generator),
        torch.randn(7, 5, generator=generator),
    ]
    expected = [tensor.clone() for tensor in inputs]
    replay = Replay(compile_at(layered, inputs, {"cpp.threads": 1}), inputs, inputs[0])
    losses = replay.run(3, [])

    wanted = []
    for _ in range(3):
        layered(*expected)
        wanted.append(expected[0].item())
    assert losses == pytest.approx(wanted, rel=1e-5)
