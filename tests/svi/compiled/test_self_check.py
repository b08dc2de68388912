"""The self-check finds steps that are wrong, and leaves everything as it was."""

import copy
import functools

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.optim.clipped_adam import ClippedAdam
from torch import nn

from pyrometer.inference.svi.compiled import one_step, packed
from pyrometer.inference.svi.compiled.build import as_graph, compiled
from pyrometer.inference.svi.compiled.self_check import Incomparable, Mismatch, _compare_moves, self_check

pytestmark = pytest.mark.usefixtures("interpreted")
OPTIMIZERS = {
    "Adam": functools.partial(torch.optim.Adam, lr=0.05),
    "ClippedAdam": functools.partial(ClippedAdam, lr=0.05, lrd=0.9),
    "SGD": functools.partial(torch.optim.SGD, lr=0.001, momentum=0.9),
}


class Counting(nn.Module):
    """A program with running statistics."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(1)

    def forward(self, y):
        z = pyro.sample("z", dist.Normal(0.0, 2.0))
        pyro.sample("y", dist.Normal(z + self.norm(y[:, None])[:, 0], 0.7).to_event(1), obs=y)


def steps_of(plain, batch):
    return compiled(plain.pair, plain.optimizer, batch, {}, repeats=True)


def everything(plain):
    """Weights, buffers, the optimizer's state and settings, gradients, random state."""
    leaves = plain.pair.trainable()
    return copy.deepcopy(
        {
            "weights": plain.pair.state_dict(),
            "state": [dict(plain.optimizer.state.get(leaf, {})) for leaf in leaves],
            "groups": [{**group, "params": None} for group in plain.optimizer.param_groups],
            "gradients": [leaf.grad for leaf in leaves],
            "random": torch.get_rng_state(),
        }
    )


def is_same(a, b):
    if isinstance(a, torch.Tensor):
        return isinstance(b, torch.Tensor) and a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(is_same(a[key], b[key]) for key in a)
    if isinstance(a, list):
        return len(a) == len(b) and all(map(is_same, a, b))
    return a == b


@pytest.mark.parametrize("optimizer", OPTIMIZERS.values(), ids=OPTIMIZERS)
@pytest.mark.parametrize("before", [0, 3])
def test_afterwards_everything_is_as_it_was(optimizer, before, plain, batch):
    """Bit by bit, whether the optimizer has a state already or not; and where the check fails."""
    made = plain(Counting(), optimizer=optimizer)
    for _ in range(before):
        made.step(batch, {})
    made.optimizer.zero_grad()
    steps = steps_of(made, batch)
    addresses = [leaf.data_ptr() for leaf in made.pair.trainable()]
    start = everything(made)
    self_check(made, steps, batch, {}, 1e-4)
    assert is_same(everything(made), start)
    right = made.step
    with pytest.raises(Mismatch):
        self_check(made._replace(step=lambda *given: right(*given) + 1), steps, batch, {}, 1e-4)
    assert is_same(everything(made), start)
    assert [leaf.data_ptr() for leaf in made.pair.trainable()] == addresses


@pytest.mark.parametrize("optimizer", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_a_check_leaves_the_next_step_of_the_optimizer_as_it_would_have_been(optimizer, plain, batch):
    """Against a pair that was not checked: momentum of the trial steps is not in it."""
    checked, other = plain(optimizer=optimizer), plain(optimizer=optimizer)
    self_check(checked, as_graph(checked.pair, batch, {}), batch, {}, 1e-4)
    for made in (checked, other):
        torch.manual_seed(2)
        made.step(batch, {})
        made.step(batch, {})
    assert all(map(torch.equal, checked.pair.trainable(), other.pair.trainable()))


def test_a_wrong_loss_is_found(plain, batch):
    made = plain()
    steps = steps_of(made, batch)
    with pytest.raises(Mismatch, match="the loss of a compiled step is "):
        self_check(made._replace(step=lambda *given: 1.01 * made.step(*given)), steps, batch, {}, 1e-4)


def scaled(common, factor):
    """Moves that are so many times as large."""
    return common._replace(move=factor * common.move)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda right: lambda group, common, *rest: right(group, scaled(common, 1.1), *rest), "is off by "),
        (
            lambda right: lambda group, common, leaf, gradient, state: right(group, common, leaf, -gradient, state),
            "off|loss",
        ),
        (lambda _: lambda group, common, leaf, gradient, state: (leaf, state), "off|loss"),  # noqa: ARG005
    ],
    ids=["rate", "sign", "nothing"],
)
def test_a_wrong_update_is_found(wrong, message, plain, batch, monkeypatch):
    monkeypatch.setattr(packed, "updated", wrong(packed.updated))
    made = plain(optimizer=functools.partial(torch.optim.Adam, lr=1e-3))
    with pytest.raises(Mismatch, match=message):
        self_check(made, steps_of(made, batch), batch, {}, 1e-4)


def test_a_wrong_gradient_of_one_parameter_of_two_is_found(plain, batch):
    """A graph in which the second gradient is half as large, with an optimizer that is not scale-free."""
    made = plain(optimizer=OPTIMIZERS["SGD"])
    steps = as_graph(made.pair, batch, {})
    right = steps.function

    def half(*given):
        loss, first, second = right(*given)
        return [loss, first, second / 2]

    steps.function = half
    with pytest.raises(Mismatch, match="is off by|the loss of a compiled step"):
        self_check(made, steps, batch, {}, 1e-4)


def test_a_buffer_that_a_graph_does_not_move_is_found(plain, batch):
    made = plain(Counting(), optimizer=OPTIMIZERS["SGD"])
    steps = as_graph(made.pair, batch, {})
    right, model = steps.function, made.pair.programs[0]

    def still(*given):
        kept = model.norm.running_mean.clone()
        found = right(*given)
        model.norm.running_mean.copy_(kept)
        return found

    steps.function = still
    with pytest.raises(Mismatch, match="a buffer is another"):
        self_check(made, steps, batch, {}, 1e-4)


def test_a_weight_whose_gradient_is_rounding_error_is_no_mismatch(plain, batch):
    """A bias before a normalisation: Adam makes whole steps of it, of either sign."""

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.norm = nn.Linear(1, 6), nn.BatchNorm1d(6)

        def forward(self, y):
            z = pyro.sample("z", dist.Normal(0.0, 2.0))
            loc = z + self.norm(self.first(y[:, None])).sin().sum(-1)
            pyro.sample("y", dist.Normal(loc, 0.7).to_event(1), obs=y)

    made = plain(Model())
    steps = steps_of(made, batch)
    right = steps.function

    def rounded(*tensors):
        """The bias, which is second among what is carried, goes the other way."""
        kept = tensors[1].clone()
        found = right(*tensors)
        tensors[1].copy_(2 * kept - tensors[1])
        return found

    assert steps.step.captured.moving[1] is made.pair.programs[0].first.bias
    steps.function = rounded
    self_check(made, steps, batch, {}, 1e-4)


class Topics(nn.Module):
    """q(words of a topic), a Dirichlet that starts at 1, where the sampler of Gamma begins to draw once more."""

    def __init__(self) -> None:
        super().__init__()
        self.concentration = nn.Parameter(torch.ones(3, 6))

    def forward(self, words):  # noqa: ARG002
        with pyro.plate("topics", 3):
            pyro.sample("topic", dist.Dirichlet(self.concentration))


def topics(words):
    with pyro.plate("topics", 3):
        topic = pyro.sample("topic", dist.Dirichlet(torch.ones(6)))
    with pyro.plate("words", len(words)):
        pyro.sample("word", dist.Categorical(topic.mean(0)), obs=words)


WORDS = {"words": torch.tensor([0, 1, 1, 5, 3, 2, 2, 1])}


def test_a_program_that_draws_in_another_way_after_a_nudge_can_be_checked(plain):
    """Down, a concentration is below 1, and all draws after it are others; up it is not."""
    made = plain(topics, Topics())
    self_check(made, steps_of(made, WORDS), WORDS, {}, 1e-4)


@pytest.mark.parametrize("factor", [1.1, -1.0, 0.0])
def test_a_wrong_update_of_such_a_program_is_found(factor, plain, monkeypatch):
    right = packed.updated

    def wrong(group, common, *rest):
        return right(group, scaled(common, factor), *rest)

    monkeypatch.setattr(packed, "updated", wrong)
    monkeypatch.setattr(one_step, "updated", wrong)
    made = plain(topics, Topics())
    with pytest.raises(Mismatch, match="is off by|the loss of a compiled step"):
        self_check(made, steps_of(made, WORDS), WORDS, {}, 1e-4)


class Settled(nn.Module):
    """Weights at their optimum, whose gradient is rounding error, on whose values the gradient of others depends."""

    def __init__(self) -> None:
        super().__init__()
        self.settled, self.others = nn.Parameter(torch.linspace(0.1, 0.9, 20)), nn.Parameter(torch.ones(20))

    def forward(self, y):
        off = self.settled / 3 * 3 - torch.linspace(0.1, 0.9, 20)
        z = pyro.sample("z", dist.Normal(0.0, 2.0))
        pyro.factor("settled", -50.0 * off.square().sum())
        pyro.factor("others", -(self.settled.detach() * self.others**3).sum())
        pyro.sample("y", dist.Normal(z, 0.7).expand([len(y)]).to_event(1), obs=y)


class TurnedOver:
    """Steps in which one parameter goes the other way, as rounding may have it."""

    def __init__(self, steps, which):
        self.steps, self.which, self.step = steps, which, steps.step

    def __call__(self, batches, numbers, rates):
        before = self.which.detach().clone()
        losses = self.steps(batches, numbers, rates)
        with torch.no_grad():
            self.which.copy_(2 * before - self.which)
        return losses


def turned_over(made, batch, which):
    return TurnedOver(steps_of(made, batch), which)


def test_where_the_second_step_hangs_on_the_rounding_of_the_first_that_one_is_compared(plain, batch):
    """Of weights that mean nothing to Adam but a sign; the others go their way, or do not."""
    made = plain(Settled())
    model = made.pair.programs[0]
    self_check(made, turned_over(made, batch, model.settled), batch, {}, 1e-4)
    with pytest.raises(Mismatch, match=r"of shape \(20,\) is off by"):
        self_check(made, turned_over(made, batch, model.others), batch, {}, 1e-4)


class Many(nn.Module):
    """q(z) = N(sum of many weights of several sizes, 0.3)."""

    def __init__(self) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.linspace(-3.0, 2.9, 40))

    def forward(self, y):  # noqa: ARG002
        pyro.sample("z", dist.Normal(self.weights.sum(), 0.3))


@pytest.mark.parametrize("rate", [1e-6, 1e-12])
def test_moves_of_a_few_rounding_errors_are_no_mismatch(plain, batch, rate):
    """As at the end of a schedule."""
    made = plain(guide=Many(), optimizer=functools.partial(torch.optim.Adam, lr=rate))
    self_check(made, steps_of(made, batch), batch, {}, 1e-4)


def test_what_is_stable_by_accident_is_not_compared():
    """One element in 64 of a parameter whose moves mean nothing; the other parameter is as it should be, or is not."""
    starts = [torch.zeros(64), torch.zeros(32)]
    moves = [torch.linspace(-1.0, 1.0, 64), torch.linspace(0.1, -0.2, 32)]
    others = [-moves[0], moves[1].clone()]
    others[0][0] = moves[0][0]
    _compare_moves(starts, moves, others, [0.86 * moves[0], moves[1]], 1e-4)
    with pytest.raises(Mismatch, match=r"of shape \(32,\) is off by 1.4e-01"):
        _compare_moves(starts, moves, others, [moves[0], 0.86 * moves[1]], 1e-4)


def test_where_nothing_is_stable_nothing_is_found_right():
    moves = [torch.linspace(-1.0, 1.0, 64)]
    with pytest.raises(Incomparable, match="nothing to compare"):
        _compare_moves([torch.zeros(64)], moves, [-moves[0]], moves, 1e-4)
