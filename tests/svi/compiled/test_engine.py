"""Which steps get a graph: one for each shape, after it has come often enough, and none that the program outgrew."""

import functools
import warnings
from contextlib import nullcontext

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import nn

from pyrometer.inference.svi import fit
from pyrometer.inference.svi.compilation import worthwhile
from pyrometer.inference.svi.compiled import Engine, engine
from pyrometer.inference.svi.compiled.engine import SEEN_BEFORE_COMPILING, STEPS_BETWEEN_CHECKS
from pyrometer.inference.svi.compiled.self_check import Incomparable

pytestmark = pytest.mark.usefixtures("interpreted")
Y = torch.linspace(-1.0, 2.0, 9)
ADAM = functools.partial(torch.optim.Adam, lr=0.05)


@pytest.fixture
def make_engine(plain):
    """A function that makes an engine of a pair."""
    return lambda *given, **options: Engine(plain(*given), nullcontext, repeats=False, **options)


def rows(count):
    return {"y": torch.arange(float(count))}


def test_a_shape_has_one_graph(make_engine):
    made = make_engine()
    first = made.steps(rows(5), {})
    assert first is not None
    assert made.steps({"y": torch.randn(5)}, {}) is first
    assert len(made.graphs) == 1


def test_a_further_shape_gets_a_graph_after_fifty_batches(make_engine):
    made = make_engine()
    first = made.steps(rows(5), {})
    found = [made.steps(rows(2), {}) for _ in range(SEEN_BEFORE_COMPILING + 1)]
    assert found[:-1] == [None] * SEEN_BEFORE_COMPILING
    assert found[-1] is not None
    assert found[-1] is not first
    assert made.steps(rows(5), {}) is first


def test_a_batch_of_one_row_is_never_taken_by_a_graph_of_another_size(make_engine):
    """It would be broadcast, and give a wrong loss without an error. Against the plain loss of one row."""
    made = make_engine()
    assert made.steps(rows(5), {}) is not None
    for _ in range(SEEN_BEFORE_COMPILING):
        assert made.steps(rows(1), {}) is None
    steps, batch = made.steps(rows(1), {}), {"y": torch.tensor([1.7])}
    assert steps is not None
    pair = made.plain.pair
    torch.manual_seed(3)
    expected = pair(batch, {}).item()
    torch.manual_seed(3)
    assert steps([batch], [{}], [[0.05]]) == [pytest.approx(expected, rel=1e-5)]


def test_what_has_been_seen_and_built_is_kept_over_a_resume(make_engine):
    """The counts go on, and what had a graph gets one at its first batch."""
    first = make_engine()
    first.steps(rows(5), {})
    for _ in range(SEEN_BEFORE_COMPILING - 1):
        assert first.steps(rows(2), {}) is None
    other = make_engine()
    other.load(first.state())
    assert other.steps(rows(2), {}) is None
    assert other.steps(rows(2), {}) is not None
    third = make_engine()
    third.load(other.state())
    assert third.steps(rows(2), {}) is not None
    assert third.steps(rows(5), {}) is not None
    assert third.steps(rows(3), {}) is None


def test_a_state_is_not_changed_by_the_engine_that_gave_or_took_it(make_engine):
    made = make_engine()
    made.steps(rows(5), {})
    state = made.state()
    other = make_engine()
    other.load(state)
    other.steps(rows(3), {})
    made.steps(rows(2), {})
    assert list(state["seen"].values()) == [1]


def test_a_refusal_is_a_warning_where_somebody_asked(make_engine):
    with pytest.warns(UserWarning, match="fit takes plain steps, since there is a reason"):
        make_engine().refuse("there is a reason")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        made = make_engine(asked=False)
        made.refuse("there is a reason")
    assert made.report() == "plain steps: there is a reason"
    assert made.steps(rows(5), {}) is None


class Annealed(nn.Module):
    """A model with a number in Python that somebody may change between epochs."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = 0.7

    def forward(self, y):
        z = pyro.sample("z", dist.Normal(0.0, 2.0))
        with pyro.plate("data", len(Y), subsample=y):
            pyro.sample("y", dist.Normal(z, self.scale), obs=y)


class Guide(nn.Module):
    """q(z), normal."""

    def __init__(self) -> None:
        super().__init__()
        self.loc, self.log_scale = nn.Parameter(torch.tensor(0.4)), nn.Parameter(torch.tensor(-0.6))

    def forward(self, y):  # noqa: ARG002
        pyro.sample("z", dist.Normal(self.loc, self.log_scale.exp()))


def trained(change_at, epochs=40, **options):
    """20 epochs of three batches; the model's number is changed after an epoch."""
    model, guide = Annealed(), Guide()
    epoch = iter(range(1, 10**6))

    def on_epoch(model, guide):  # noqa: ARG001
        if next(epoch) == change_at:
            model.scale = 2.5
        return {}

    options = {"batch_size": 3, "epochs": epochs, "seed": 2, "optimizer": ADAM, "progress": False, **options}
    return fit(model, guide, {"y": Y}, on_epoch=on_epoch, **options), guide


def test_a_program_that_on_epoch_changes_ends_the_compiled_steps_with_a_warning():
    """The check comes 40 steps after the last or later, so that 40 steps at most are taken with the old number."""
    with pytest.warns(UserWarning, match="fit takes plain steps from now on: the program has changed since it was"):
        result, _ = trained(change_at=25, compile=True)
    assert result.engine.startswith("plain steps: the program has changed since it was compiled: the loss of a ")
    plain, _ = trained(change_at=25, compile=False)
    losses, expected = ([row["loss"] for row in one.history] for one in (result, plain))
    assert losses[:25] == pytest.approx(expected[:25], rel=1e-5)
    late = 25 + -(-STEPS_BETWEEN_CHECKS // 3) + 1
    for found, other in zip(losses[late:], expected[late:], strict=True):
        assert abs(found - other) < 0.1 * abs(other)  # 40 steps with a wrong number are not undone


def test_a_program_that_on_epoch_leaves_alone_stays_compiled():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result, _ = trained(change_at=None, compile=True)
    assert result.engine.startswith("compiled with")


@pytest.mark.parametrize(("since", "taken"), [(1, "plain steps"), (2, "compiled with")])
def test_where_nothing_can_be_compared_no_step_is_compiled_but_none_that_is_ends(since, taken, monkeypatch):
    """From the first check on, or from the second."""
    calls = []

    def check(*_):
        calls.append(1)
        if len(calls) >= since:
            raise Incomparable("plain steps from the same seed differ")

    monkeypatch.setattr(engine, "self_check", check)
    with pytest.warns(UserWarning, match="seed differ") if since == 1 else nullcontext():
        result, _ = trained(change_at=None, compile=True)
    assert result.engine.startswith(taken)
    assert len(calls) == (1 if since == 1 else 1 + 120 // STEPS_BETWEEN_CHECKS - 1)


def test_checks_on_the_way_change_no_number():
    """With on_epoch, and so with checks every 40 steps, against a run without."""
    checked, guide = trained(change_at=None, compile=True)
    other = Guide()
    options = {"batch_size": 3, "epochs": 40, "seed": 2, "optimizer": ADAM, "progress": False}
    free = fit(Annealed(), other, {"y": Y}, compile=True, **options)
    assert [row["loss"] for row in checked.history] == [row["loss"] for row in free.history]
    assert all(map(torch.equal, guide.parameters(), other.parameters()))


def test_a_graph_sees_a_change_in_place_of_the_data_that_a_program_closes_over():
    """on_epoch doubles a buffer; against plain steps, without a warning."""
    results = {}
    for compile in (True, False):
        offset = torch.tensor(0.5)

        def model(y, offset=offset):
            z = pyro.sample("z", dist.Normal(0.0, 2.0))
            with pyro.plate("data", len(y)):
                pyro.sample("y", dist.Normal(z + offset, 0.7), obs=y)

        options = {"batch_size": None, "epochs": 60, "seed": 2, "optimizer": ADAM, "progress": False}
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            results[compile] = fit(
                model, Guide(), {"y": Y}, on_epoch=lambda *_, o=offset: o.mul_(1.02) and {}, compile=compile, **options
            )
    losses = [[row["loss"] for row in results[compile].history] for compile in (True, False)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def test_short_last_batches_are_taken_plainly_and_then_compiled(monkeypatch):
    """Nine rows in batches of four: 4, 4, 1. Against plain steps."""
    monkeypatch.setattr(engine, "SEEN_BEFORE_COMPILING", 5)
    fast, guide = trained(change_at=None, batch_size=4, compile=True)
    plain, other = trained(change_at=None, batch_size=4, compile=False)
    assert fast.engine.count("compiled") == 2
    assert [row["loss"] for row in fast.history] == pytest.approx([row["loss"] for row in plain.history], rel=1e-5)
    for a, b in zip(guide.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)


class OneForEach(nn.Module):
    """q(z) with a location for batches of four and another for all others."""

    def __init__(self) -> None:
        super().__init__()
        self.fours, self.others = nn.Parameter(torch.tensor(0.4)), nn.Parameter(torch.tensor(-0.2))

    def forward(self, y):
        pyro.sample("z", dist.Normal(self.fours if len(y) == 4 else self.others, 0.3))


def test_a_gradient_of_one_graph_is_not_there_at_the_step_of_another(monkeypatch):
    """Two shapes of batch that move two parameters, by an optimizer beside the graphs; against plain steps."""
    monkeypatch.setattr(engine, "SEEN_BEFORE_COMPILING", 0)
    sgd = functools.partial(torch.optim.SGD, lr=0.01)
    options = {"batch_size": 4, "epochs": 10, "seed": 2, "optimizer": sgd, "progress": False}
    found = {}
    for compile in (True, False):
        guide = OneForEach()
        result = fit(Annealed(), guide, {"y": Y}, compile=compile, **options)
        assert result.engine.count("the optimizer beside it") == (2 if compile else 0)
        found[compile] = [one.item() for one in guide.parameters()]
    assert found[True] == pytest.approx(found[False], rel=1e-5)


@pytest.mark.parametrize("optimizer", [ADAM, functools.partial(torch.optim.SGD, lr=0.01)], ids=["adam", "sgd"])
def test_parameters_that_on_epoch_moves_in_memory_are_still_those_that_are_trained(optimizer):
    """Another tensor behind a parameter, as `load_state_dict(assign=True)` leaves it; against plain steps."""
    found = {}
    for compile in (True, False):
        guide, epoch = Guide(), iter(range(1, 10**6))

        def on_epoch(_, guide, epoch=epoch):
            if next(epoch) in (3, 20):
                guide.loc.data = guide.loc.data + 0.5
            return {}

        options = {"batch_size": 3, "epochs": 30, "seed": 2, "optimizer": optimizer, "progress": False}
        result = fit(Annealed(), guide, {"y": Y}, on_epoch=on_epoch, compile=compile, **options)
        assert result.engine.count("compiled with") == (3 if compile else 0)
        found[compile] = [row["loss"] for row in result.history], [one.item() for one in guide.parameters()]
    for one, other in zip(found[True], found[False], strict=True):
        assert one == pytest.approx(other, rel=1e-5)


def test_compiling_pays_for_many_steps_or_slow_ones_only():
    assert not worthwhile(0.003, None)
    assert not worthwhile(0.003, 1_000)
    assert worthwhile(0.003, 20_000)
    assert not worthwhile(0.2, 100)
    assert worthwhile(0.2, 1_000)
