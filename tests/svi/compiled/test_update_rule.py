"""The rule of an optimizer in a graph, against torch's and Pyro's own over 50 steps."""

import functools

import pytest
import torch
from pyro.optim.clipped_adam import ClippedAdam
from torch.optim import SGD, Adam, AdamW

from pyrometer.inference.svi.compiled.update_rule import factors, groups_of, next_rates, prepare_state, updated

RULES = {
    "Adam": functools.partial(Adam, lr=0.03),
    "beta 1 = 0": functools.partial(Adam, lr=0.03, betas=(0.0, 0.99)),
    "beta 2 = 0": functools.partial(Adam, lr=0.03, betas=(0.9, 0.0)),
    "both betas = 0": functools.partial(Adam, lr=0.03, betas=(0.0, 0.0), eps=0.1),
    "weight decay": functools.partial(Adam, lr=0.03, weight_decay=0.3),
    "amsgrad": functools.partial(Adam, lr=0.03, amsgrad=True),
    "maximize": functools.partial(Adam, lr=0.03, maximize=True, weight_decay=0.1),
    "large eps": functools.partial(Adam, lr=0.03, eps=0.5),
    "decoupled": functools.partial(Adam, lr=0.03, weight_decay=0.3, decoupled_weight_decay=True),
    "AdamW": functools.partial(AdamW, lr=0.03, weight_decay=0.3, amsgrad=True),
    "AdamW, maximize": functools.partial(AdamW, lr=0.03, maximize=True),
    "ClippedAdam": functools.partial(ClippedAdam, lr=0.03, clip_norm=0.5, lrd=0.98),
    "ClippedAdam, centred": functools.partial(ClippedAdam, lr=0.03, centered_variance=True, weight_decay=0.1),
}
SHAPES = [(), (3,), (2, 4)]
RATES = [0.03, 0.05, 0.001]


def parameters(dtype):
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(shape, generator=generator).to(dtype).requires_grad_() for shape in SHAPES]


def gradients(dtype, step):
    """Of many sizes, some of them zero."""
    generator = torch.Generator().manual_seed(100 + step)
    made = [torch.randn(shape, generator=generator) * 10.0 ** (step % 4 - 2) for shape in SHAPES]
    made[1][step % 3] = 0.0
    return [one.to(dtype) for one in made]


def take(optimizer, leaves, steps, start=0):
    """The optimizer's own steps."""
    for step in range(start, start + steps):
        for leaf, gradient in zip(leaves, gradients(leaves[0].dtype, step), strict=True):
            leaf.grad = gradient
        optimizer.step()


def take_by_rule(optimizer, leaves, steps, start=0):
    """The steps of the rule, on the optimizer's state."""
    groups = groups_of(optimizer)
    assert groups is not None
    states = prepare_state(optimizer, leaves)
    with torch.no_grad():
        for step in range(start, start + steps):
            rates = [torch.tensor(rate, dtype=torch.float64) for rate in next_rates(optimizer)]
            own = [groups[id(leaf)] for leaf in leaves]
            common = factors(own, rates, states)
            given = zip(own, common, leaves, gradients(leaves[0].dtype, step), states, strict=True)
            for group, factor, leaf, gradient, state in given:
                new, after = updated(group, factor, leaf, gradient, state)
                assert new.dtype == leaf.dtype
                for old, value in zip([leaf, *state.tensors()], [new, *after.tensors()], strict=True):
                    assert value.dtype == old.dtype
                    old.copy_(value)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_fifty_steps_are_those_of_the_optimizer(rule, dtype):
    ours, theirs = parameters(dtype), parameters(dtype)
    take_by_rule(rule(ours), ours, 50)
    take(rule(theirs), theirs, 50)
    rounding = {"rtol": 1e-5, "atol": 1e-5} if dtype == torch.float32 else {"rtol": 1e-6, "atol": 1e-6}
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, **rounding)


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_the_rule_goes_on_from_the_optimizers_state_and_the_optimizer_from_the_rules(rule):
    """20 steps of each in turn, as where a short last batch is taken plainly, against 60 of the optimizer's own."""
    mixed, theirs = parameters(torch.float64), parameters(torch.float64)
    ours, own = rule(mixed), rule(theirs)
    take(ours, mixed, 20)
    take_by_rule(ours, mixed, 20, start=20)
    take(ours, mixed, 20, start=40)
    take(own, theirs, 60)
    for a, b in zip(mixed, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)  # ClippedAdam's count is float32 from the rule on


def test_the_rates_are_an_input_by_group():
    ours, theirs = parameters(torch.float64), parameters(torch.float64)

    def grouped(leaves):
        return Adam([{"params": leaves[:1], "lr": 0.3}, {"params": leaves[1:], "betas": (0.5, 0.6)}], lr=0.02)

    a, b = grouped(ours), grouped(theirs)
    for step, rate in enumerate(RATES):
        for optimizer in (a, b):
            optimizer.param_groups[1]["lr"] = rate
        take_by_rule(a, ours, 1, start=step)
        take(b, theirs, 1, start=step)
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-6)


def test_rates_decay_at_every_step_where_the_optimizer_has_it_so():
    optimizer = ClippedAdam(parameters(torch.float32), lr=0.5, lrd=0.9)
    assert [next_rates(optimizer)[0] for _ in range(3)] == pytest.approx([0.45, 0.405, 0.3645])


@pytest.mark.parametrize(
    "optimizer",
    [
        functools.partial(SGD, lr=0.1),
        functools.partial(torch.optim.NAdam, lr=0.1),
        functools.partial(Adam, lr=torch.tensor(0.1)),
        functools.partial(Adam, lr=0.1, differentiable=True),
        functools.partial(type("Own", (Adam,), {}), lr=0.1),
    ],
)
def test_an_optimizer_whose_rule_is_not_known_is_left_out(optimizer):
    """A subclass may do anything in its step."""
    assert groups_of(optimizer(parameters(torch.float32))) is None
