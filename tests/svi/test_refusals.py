"""Arguments of fit that cannot be meant, each an error before anything is written or trained."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import ReweightedWakeSleep, Trace_ELBO
from pyro.infer.autoguide import AutoNormal
from torch import Tensor

from pyrometer.inference.svi import fit

Y = torch.tensor([0.3, -0.1, 1.2])


def model(y: Tensor) -> None:
    mean = pyro.sample("mean", dist.Normal(0.0, 2.0))
    with pyro.plate("data", len(y)):
        pyro.sample("y", dist.Normal(mean, 0.5), obs=y)


def fixed_guide(y: Tensor) -> None:  # noqa: ARG001
    pyro.sample("mean", dist.Normal(0.5, 0.2))


def constant(model: Callable, guide: Callable, y: Tensor) -> Tensor:  # noqa: ARG001
    return y.sum()


def per_datum(model: Callable, guide: Callable, y: Tensor) -> Tensor:
    return Trace_ELBO().differentiable_loss(model, guide, y=y) * y


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"epochs": None}, ValueError, "exactly one of epochs and steps, got epochs=None and steps=None"),
        ({"steps": 5}, ValueError, "exactly one of epochs and steps, got epochs=2 and steps=5"),
        ({"epochs": 0}, ValueError, "epochs must be a positive integer, got 0"),
        ({"epochs": 1.5}, ValueError, "epochs must be a positive integer, got 1.5"),
        ({"seed": -1}, ValueError, "seed must be an integer from 0 to .* got -1"),
        ({"seed": 2**32}, ValueError, "seed must be an integer from 0 to .* got 4294967296"),
        ({"optimizer": pyro.optim.Adam({"lr": 0.1})}, TypeError, "got Pyro's .*functools.partial.torch.optim.Adam"),
        ({"optimizer": torch.optim.SGD([torch.zeros(1)], lr=0.1)}, TypeError, "got a built one: pass a function"),
        ({"optimizer": 0.1}, TypeError, "optimizer must be callable, got 0.1"),
        ({"optimizer": torch.optim.LBFGS}, TypeError, "LBFGS apart"),
        ({"optimizer": len}, TypeError, "optimizer must give a torch.optim.Optimizer .*got int"),
        ({"objective": Trace_ELBO}, TypeError, "objective must be a Pyro ELBO object .*got <class"),
        ({"objective": "elbo"}, TypeError, "objective must be a Pyro ELBO object .*got 'elbo'"),
        ({"objective": constant}, TypeError, r"on the parameters, got shape \(\) with requires_grad=False"),
        ({"objective": per_datum}, TypeError, r"scalar tensor .*, got shape \(3,\)"),
        ({"objective": lambda *_, **__: 2.5}, TypeError, "depends on the parameters, got 2.5"),
        ({"objective": ReweightedWakeSleep()}, TypeError, "must have one loss"),
        ({"schedule": lambda _: -0.5}, ValueError, "schedule must give a finite factor.*= -0.5"),
        ({"guide": fixed_guide}, ValueError, "nothing to optimise: .*pyro.module"),
        ({"resume": True, "out": None}, ValueError, "resume=True needs out"),
        ({"settings": {"data": Y}}, TypeError, "settings must be plain JSON.*Tensor"),
        ({"batch_size": 0}, ValueError, "batch_size must be at least 1"),
        ({"data": {"y": torch.tensor([0.3, torch.nan])}}, ValueError, "must be finite.* the first is row 1"),
        ({"accelerator": "abacus"}, ValueError, "abacus"),
        ({"precision": "3"}, ValueError, "3"),
        ({"precision": "16-true"}, ValueError, "precision must not be '16-true': float16 ends at 65504"),
    ],
)  # fmt: skip
def test_an_argument_that_cannot_be_meant_is_refused_and_nothing_written(
    arguments: dict[str, Any], error: type[Exception], message: str, tmp_path: Path
) -> None:
    guide = AutoNormal(model)
    usual = {"model": model, "guide": guide, "data": {"y": Y}, "epochs": 2, "batch_size": None, "out": tmp_path / "run"}
    with pytest.raises(error, match=message):
        fit(**{**usual, **arguments}, progress=False)
    assert list(tmp_path.iterdir()) == []
    assert all(not parameter.grad.any() for parameter in guide.parameters() if parameter.grad is not None)


def test_the_same_arguments_without_the_mistake_work(tmp_path: Path) -> None:
    adam = functools.partial(torch.optim.Adam, lr=0.1)
    fit(
        model,
        AutoNormal(model),
        {"y": Y},
        epochs=2,
        batch_size=None,
        out=tmp_path / "run",
        optimizer=adam,
        progress=False,
    )
    assert (tmp_path / "run" / "summary.json").exists()


@pytest.mark.parametrize("metrics", [{"loss": 1.0}, 2.5, None])
def test_on_epoch_must_give_numbers_under_new_names(metrics: Any) -> None:
    with pytest.raises(ValueError, match="on_epoch must give a dict of numbers with names other than"):
        fit(
            model, AutoNormal(model), {"y": Y}, epochs=1, batch_size=None, on_epoch=lambda *_: metrics, progress=False
        )  # fmt: skip


def test_a_loader_that_is_spent_after_an_epoch_is_noticed() -> None:
    class Spent:
        def __init__(self) -> None:
            self.batches = iter([{"y": Y}, {"y": Y}, {"y": Y}])

        def __iter__(self) -> "Spent":
            return self

        def __next__(self) -> dict[str, Tensor]:
            return next(self.batches)

    class Disguised:
        inner = Spent()

        def __iter__(self) -> Spent:
            return self.inner

    with pytest.raises(TypeError, match="spent after the first"):
        fit(model, AutoNormal(model), Spent(), epochs=2, progress=False)
    with pytest.raises(ValueError, match="data gave no batch in epoch 2: it must start anew"):
        fit(model, AutoNormal(model), Disguised(), epochs=2, progress=False)
