"""Batches that are changed anew at each step, against trainings on data that are changed beforehand."""

import functools

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import Trace_ELBO, TraceGraph_ELBO, TraceMeanField_ELBO
from torch import nn

from pyrometer.inference.svi import fit, training

Y = torch.linspace(-1.0, 2.0, 30)
ADAM = functools.partial(torch.optim.Adam, lr=0.05)
quiet = functools.partial(fit, seed=3, optimizer=ADAM, progress=False)


class Location(nn.Module):
    """z ~ N(slope y, scale), and y ~ N(z, 0.7) in the model; it keeps the y that it has seen."""

    def __init__(self, observes: bool) -> None:
        super().__init__()
        self.observes, self.seen = observes, []
        self.slope, self.log_scale = nn.Parameter(torch.tensor(0.3)), nn.Parameter(torch.tensor(0.1))

    def forward(self, y):
        self.seen.append(y)
        with pyro.plate("data", len(y)):
            z = pyro.sample("z", dist.Normal(0.4 if self.observes else self.slope * y, self.log_scale.exp()))
            if self.observes:
                pyro.sample("y", dist.Normal(z, 0.7), obs=y)


def pair():
    return Location(observes=True), Location(observes=False)


def doubled(y):
    return {"y": 2 * y + 1}


def noisy(y):
    return {"y": y + torch.randn_like(y)}


@pytest.mark.parametrize("objective", [Trace_ELBO(), TraceMeanField_ELBO(), TraceGraph_ELBO()])
@pytest.mark.parametrize("beta", [1.0, 2.5])
def test_a_training_on_changed_batches_is_that_on_changed_data(objective, beta):
    how = {"objective": objective, "beta": beta, "epochs": 3, "batch_size": 8}
    ours = quiet(*pair(), {"y": Y}, augment=doubled, **how)
    theirs = quiet(*pair(), doubled(Y), **how)
    assert ours.history == theirs.history
    assert ours.history != quiet(*pair(), {"y": Y}, **how).history


def test_each_step_has_its_own_copy_and_model_and_guide_have_the_same():
    model, guide = pair()
    quiet(model, guide, {"y": Y}, augment=noisy, epochs=4, batch_size=None, compile=False)
    assert len({tuple(y.tolist()) for y in guide.seen[-4:]}) == 4  # of four steps; the check before them comes first
    assert all(torch.equal(*both) for both in zip(model.seen[-4:], guide.seen[-4:], strict=True))


def test_compiled_steps_draw_the_copies_of_plain_ones():
    plain, compiled = (
        quiet(*pair(), {"y": Y.clamp(min=0) / 2}, augment=drawn, epochs=5, batch_size=10, compile=compile)
        for compile in (False, True)
    )
    assert "compiled" in compiled.engine
    assert [row["loss"] for row in compiled.history] == pytest.approx([row["loss"] for row in plain.history], rel=1e-4)


def drawn(y):
    return {"y": torch.bernoulli(y)}


def test_a_resumed_training_ends_where_an_uninterrupted_one_does(tmp_path, monkeypatch):
    monkeypatch.setattr(training, "SECONDS_BETWEEN_CHECKPOINTS", 0.0)
    how = {"augment": noisy, "epochs": 6, "batch_size": 8}
    whole = quiet(*pair(), {"y": Y}, **how)
    calls = []

    def interrupt(model, guide):  # noqa: ARG001
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return {}

    with pytest.raises(KeyboardInterrupt):
        quiet(*pair(), {"y": Y}, out=tmp_path / "run", on_epoch=interrupt, **how)
    with pytest.raises(ValueError, match="augment"):
        quiet(*pair(), {"y": Y}, out=tmp_path / "run", resume=True, **{**how, "augment": doubled})
    resumed = quiet(*pair(), {"y": Y}, out=tmp_path / "run", resume=True, **how)
    assert resumed.history == whole.history


def test_only_what_the_programs_see_has_to_suit_them():
    """Grey values that are drawn: Bernoulli has no probability of the data themselves."""

    def model(image):
        with pyro.plate("data", len(image)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("image", dist.Bernoulli(logits=z), obs=image)

    class Guide(nn.Module):
        def __init__(self):
            super().__init__()
            self.slope = nn.Parameter(torch.tensor(0.3))

        def forward(self, image):
            with pyro.plate("data", len(image)):
                pyro.sample("z", dist.Normal(self.slope * image, 1.0))

    grey, how = {"image": torch.rand(30)}, {"epochs": 2, "batch_size": 8, "compile": False}
    with pytest.raises(ValueError, match="support"):
        quiet(model, Guide(), grey, **how)
    result = quiet(model, Guide(), grey, augment=lambda image: {"image": torch.bernoulli(image)}, **how)
    assert result.steps == 8


@pytest.mark.parametrize(
    ("augment", "message"),
    [
        (lambda y: {"x": y}, r"augment must give entries of the batch, which are \['y'\], got 'x'"),
        (lambda y: {"y": y[:2]}, r"augment must leave 'y' a tensor of shape \(8,\), got \(2,\)"),
        (lambda y: {"y": float(len(y))}, r"augment must leave 'y' a tensor of shape \(8,\), got float"),
    ],
)
def test_what_is_no_copy_of_a_batch_is_refused_before_anything_is_written(augment, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        quiet(*pair(), {"y": Y}, augment=augment, epochs=1, batch_size=8, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def both(model, guide, *, few, many):
    return sum(Trace_ELBO().differentiable_loss(model, guide, **stream) for stream in (few, many))


def test_each_stream_is_changed_by_itself():
    how = {"objective": both, "epochs": 3, "batch_size": 8}
    ours = quiet(*pair(), {"few": {"y": Y[:10]}, "many": {"y": Y}}, augment=doubled, **how)
    theirs = quiet(*pair(), {"few": doubled(Y[:10]), "many": doubled(Y)}, **how)
    assert ours.history == theirs.history
    assert ours.history != quiet(*pair(), {"few": {"y": Y[:10]}, "many": {"y": Y}}, **how).history
