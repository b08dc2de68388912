"""Several steps a call are those of one call each, also where a loss in the middle is not finite."""

import functools
import warnings

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import nn

from pyrometer.inference.svi import NonFiniteLossError, fit, training
from pyrometer.inference.svi.compiled.build import _improved, compiled
from pyrometer.inference.svi.compiled.loop import MOST, MOST_WEIGHTS, Loop, is_loopable
from pyrometer.inference.svi.compiled.one_step import one_step
from pyrometer.inference.svi.compiled.single_step import SingleStep

pytestmark = pytest.mark.usefixtures("interpreted")
Y = torch.linspace(-1.0, 2.0, 8)


def numbers(steps):
    return [{} for _ in range(steps)], [[0.05]] * steps


def _stepping(plain, batch):
    return one_step(_improved(plain.pair, batch, {}, "torch"), plain.optimizer)


def test_a_call_of_many_steps_is_many_calls_of_one(plain, batch):
    """Against single steps of the same graph, with other batches in each, by losses, weights and generator."""
    one, other = plain(), plain()
    batches = [{"y": batch["y"] + shift} for shift in (0.0, 1.0, -2.0, 0.5, 3.0)]
    loop = compiled(one.pair, one.optimizer, batch, {}, repeats=False)
    single = SingleStep(_stepping(other, batch), lambda function: function)
    assert isinstance(loop, Loop)
    torch.manual_seed(5)
    losses, state = loop(batches, *numbers(5)), torch.get_rng_state()
    torch.manual_seed(5)
    expected = [single([one], *numbers(1))[0] for one in batches]
    assert losses == pytest.approx(expected, rel=1e-6)
    assert torch.equal(torch.get_rng_state(), state)
    for a, b in zip(one.pair.trainable(), other.pair.trainable(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-7)


def test_after_a_loss_that_is_not_finite_no_step_is_taken(plain, batch):
    """The third batch has a NaN: weights and optimizer are those of two steps."""
    one, other = plain(), plain()
    bad = {"y": batch["y"].clone()}
    bad["y"][2] = torch.nan
    torch.manual_seed(5)
    losses = compiled(one.pair, one.optimizer, batch, {}, repeats=False)([batch, batch, bad, batch], *numbers(4))
    torch.manual_seed(5)
    expected = compiled(other.pair, other.optimizer, batch, {}, repeats=False)([batch, batch], *numbers(2))
    assert losses[:2] == expected
    assert all(map(torch.isnan, map(torch.tensor, losses[2:])))
    assert all(map(torch.equal, one.pair.trainable(), other.pair.trainable()))
    for a, b in zip(one.pair.trainable(), other.pair.trainable(), strict=True):
        states = one.optimizer.state[a], other.optimizer.state[b]
        assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])
        assert states[0]["step"] == 2


class Failing(nn.Module):
    """A location, and a loss that is NaN once it has gone far enough."""

    def __init__(self) -> None:
        super().__init__()
        self.location = nn.Parameter(torch.tensor(0.0))

    def forward(self, y):
        z = pyro.sample("z", dist.Normal(0.0, 2.0))
        bad = torch.where(self.location > 0.3, torch.nan, 0.0)
        with pyro.plate("data", len(Y), subsample=y):
            pyro.sample("y", dist.Normal(self.location + z + bad, 0.7), obs=y)


class Guide(nn.Module):
    """q(z), normal."""

    def __init__(self) -> None:
        super().__init__()
        self.loc = nn.Parameter(torch.tensor(-0.4))

    def forward(self, y):  # noqa: ARG002
        pyro.sample("z", dist.Normal(self.loc, 0.3))


@pytest.mark.parametrize("batch_size", [None, 4], ids=["an epoch a step", "two steps an epoch"])
def test_a_loss_that_is_not_finite_is_reported_as_by_plain_steps(batch_size):
    """The same epoch, batch and site in the error, the same weights, and the generator as before the bad step."""
    found = {}
    for compile in (True, False):
        model, guide = Failing(), Guide()
        options = {"batch_size": batch_size, "epochs": 60, "seed": 4, "progress": False, "compile": compile}
        adam, drawn = functools.partial(torch.optim.Adam, lr=0.02), []
        with pytest.MonkeyPatch.context() as patch:
            original = training.Training._explained

            def explained(self, *given, original=original, drawn=drawn):
                drawn.append(torch.get_rng_state())
                return original(self, *given)

            patch.setattr(training.Training, "_explained", explained)
            with pytest.raises(NonFiniteLossError, match="model: y is not finite") as caught:
                fit(model, guide, {"y": Y}, optimizer=adam, **options)
        weights = [one.detach().clone() for one in (model.location, guide.loc)]
        found[compile] = caught.value, weights, drawn[0]
    (fast, weights, state), (plain, expected, other) = found[True], found[False]
    assert fast.epoch > 5
    assert (fast.epoch, fast.batch, fast.site, fast.rows) == (plain.epoch, plain.batch, plain.site, plain.rows)
    torch.testing.assert_close(weights, expected)
    assert torch.equal(state, other)


@pytest.mark.usefixtures("compiler")
def test_tensors_of_a_batch_may_share_memory(monkeypatch):
    """The same tensor twice, and a part of it, which torch refuses in a loop; against plain steps."""
    monkeypatch.undo()

    def model(y, same, half):
        z = pyro.sample("z", dist.Normal(0.0, 2.0))
        with pyro.plate("data", len(y)):
            pyro.sample("y", dist.Normal(z + 0.1 * same, 0.7), obs=y)
        pyro.factor("half", -(half - z).square().sum())

    class Own(Guide):
        def forward(self, y, same, half):  # noqa: ARG002
            pyro.sample("z", dist.Normal(self.loc, 0.3))

    found = []
    for compile in (True, False):
        guide = Own()
        data = {"y": Y, "same": Y, "half": Y.view(8)}
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            result = fit(model, guide, data, batch_size=None, epochs=20, seed=4, progress=False, compile=compile)
        assert ("up to 100 steps a call" in result.engine) == compile
        found.append(guide.loc.item())
    assert found[0] == pytest.approx(found[1], rel=1e-5)


def test_what_is_large_or_not_on_its_own_is_no_loop(plain, batch):
    small = plain()
    assert is_loopable(_stepping(small, batch), batch)
    assert not is_loopable(_stepping(small._replace(optimizer=None), batch), batch)
    many = {"y": torch.zeros(2_000_000 // MOST + 1)}
    assert not is_loopable(_stepping(small, many), many)

    class Large(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weights = nn.Parameter(torch.zeros(MOST_WEIGHTS + 1))

        def forward(self, y):  # noqa: ARG002
            pyro.sample("z", dist.Normal(self.weights.sum(), 1.0))

    large = plain(guide=Large())
    assert not is_loopable(_stepping(large, batch), batch)


def test_calls_end_where_somebody_looks():
    """on_epoch after each epoch, and `steps` in the middle of one: as plain steps have it."""
    for options in ({"epochs": 7, "on_epoch": lambda _, guide: {"at": guide.loc}}, {"steps": 11}):
        found = []
        for compile in (True, False):
            guide = Guide()

            def model(y):
                z = pyro.sample("z", dist.Normal(0.0, 2.0))
                with pyro.plate("data", len(Y), subsample=y):
                    pyro.sample("y", dist.Normal(z, 0.7), obs=y)

            with warnings.catch_warnings():
                warnings.simplefilter("error")
                result = fit(model, guide, {"y": Y}, batch_size=2, seed=4, progress=False, compile=compile, **options)
            found.append([list(row.values()) for row in result.history])
        torch.testing.assert_close(torch.tensor(found[0]), torch.tensor(found[1]), rtol=1e-5, atol=1e-6)
