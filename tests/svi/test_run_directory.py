"""What is in the directory of a run, what is refused there, and how weights come out of it."""

import csv
import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import Trace_ELBO
from pyro.infer.autoguide import AutoNormal
from torch import Tensor, nn

from pyrometer.inference.svi import Fit, fit, load_weights, training

X = torch.linspace(-1.0, 2.0, 11)
ADAM = functools.partial(torch.optim.Adam, lr=0.05)


@pytest.fixture(autouse=True)
def checkpoint_after_every_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "SECONDS_BETWEEN_CHECKPOINTS", 0.0)


class Decoder(nn.Module):
    """x ~ N(slope z, noise)."""

    def __init__(self) -> None:
        super().__init__()
        self.slope = nn.Parameter(torch.tensor(0.3))

    def forward(self, x: Tensor) -> None:
        """The program."""
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 2.0))
            pyro.sample("x", dist.Normal(self.slope * z, 0.5), obs=x)


class Encoder(nn.Module):
    """q(z | x) = N(slope x, 0.3), perhaps with weights that it has no use for."""

    def __init__(self, more: int = 0) -> None:
        super().__init__()
        self.slope = nn.Parameter(torch.tensor(0.2))
        if more:
            self.more = nn.Parameter(torch.zeros(more))

    def forward(self, x: Tensor) -> None:
        """The program."""
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(self.slope * x, 0.3))


def plain_model(x: Tensor) -> None:
    mean = pyro.sample("mean", dist.Normal(0.0, 2.0))
    with pyro.plate("data", len(x)):
        pyro.sample("x", dist.Normal(mean, 0.5), obs=x)


def plain_guide(x: Tensor) -> None:  # noqa: ARG001
    scale = pyro.param("scale", torch.tensor(0.3), constraint=dist.constraints.positive)
    pyro.sample("mean", dist.Normal(pyro.param("loc", torch.tensor(1.5)), scale))


def run(out: Path, **arguments: Any) -> Fit:
    """Five epochs of three steps."""
    usual = {"model": Decoder(), "guide": Encoder(), "data": {"x": X}, "epochs": 5, "batch_size": 4}
    return fit(**{**usual, "optimizer": ADAM, "seed": 7, "progress": False, **arguments}, out=out)


def interrupted(out: Path, epoch: int, **arguments: Any) -> None:
    """The same, stopped by Ctrl-C at the end of an epoch, before its checkpoint."""
    epochs = iter(range(1, epoch))

    def stop(_model: Callable, _guide: Callable) -> dict[str, float]:
        if next(epochs, None) is None:
            raise KeyboardInterrupt
        return {}

    with pytest.raises(KeyboardInterrupt):
        run(out, on_epoch=stop, **arguments)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"seed": 8}, "  seed: 7 -> 8"),
        ({"batch_size": 5}, "  batch_size: 4 -> 5"),
        ({"data": {"x": X + 1e-6}}, r"  data.x: 'float32 \(11,\) crc32 .* -> 'float32 \(11,\) crc32"),
        ({"data": {"x": X.flip(0)}}, "  data.x: "),
        ({"optimizer": functools.partial(torch.optim.Adam, lr=0.06)}, "  optimizer.lr: 0.05 -> 0.06"),
        ({"objective": Trace_ELBO(num_particles=2)}, "  objective: None -> "),
        ({"settings": {"recipe": "other", "hidden": 20}}, "  recipe: 'mine' -> 'other'"),
    ],
)
def test_other_settings_are_listed_and_the_run_is_left_alone(
    changed: dict[str, Any], message: str, tmp_path: Path
) -> None:
    settings = {"recipe": "mine", "hidden": 20}
    run(tmp_path / "run", settings=settings)
    before = {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}
    with pytest.raises(ValueError, match=f"(?s)holds a run with other settings.*{message}"):
        run(tmp_path / "run", resume=True, **{"settings": settings, **changed})
    assert {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()} == before


def test_weights_of_another_shape_are_refused(tmp_path: Path) -> None:
    run(tmp_path / "run")
    with pytest.raises(ValueError, match=r"(?s)weights of the guide are not those of this one.*more: absent -> \(3,\)"):
        run(tmp_path / "run", resume=True, guide=Encoder(more=3))


def test_a_folder_that_is_taken_is_refused_and_left_alone(tmp_path: Path) -> None:
    run(tmp_path / "run", epochs=1)
    with pytest.raises(FileExistsError, match="already holds a run: pass resume=True, or another folder"):
        run(tmp_path / "run", epochs=1)
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "thesis.txt").write_text("two years of work")
    for resume in (False, True):
        with pytest.raises(FileExistsError, match="is not empty and holds no run: pass a new or an empty folder"):
            run(foreign, resume=resume)
        with pytest.raises(FileExistsError, match="is not empty and holds no run"):
            run(foreign / "thesis.txt", resume=resume)
    assert (foreign / "thesis.txt").read_text() == "two years of work"


def test_a_run_directory_holds_what_was_reached(tmp_path: Path) -> None:
    result = run(tmp_path / "run", on_epoch=lambda _model, guide: {"slope": guide.slope}, settings={"labels": 3})
    out = tmp_path / "run"
    assert sorted(path.name for path in out.iterdir()) == [
        "checkpoints", "metrics.csv", "settings.json", "summary.json", "tensorboard", "weights.pt",
    ]  # fmt: skip
    assert sorted(path.name for path in (out / "checkpoints").iterdir()) == ["0004.pt", "0005.pt"]
    rows = list(csv.DictReader((out / "metrics.csv").read_text().splitlines()))
    assert [{name: float(value) for name, value in row.items()} for row in rows] == result.history
    saved = torch.load(out / "weights.pt", weights_only=True)
    assert saved["guide"]["slope"].item() == result.history[-1]["slope"]
    summary = json.loads((out / "summary.json").read_text())
    assert (summary["loss"], summary["epochs"], summary["steps"]) == (result.loss, 5, 15)
    assert summary["seconds"] == result.seconds > 0
    settings = json.loads((out / "settings.json").read_text())
    assert settings["settings"] == {"labels": 3}
    assert settings["fit"]["optimizer"] == {"name": "Adam", "args": [], "lr": 0.05}
    assert settings["versions"] == summary["versions"]
    assert settings["versions"].keys() >= {"pyrometer", "torch", "pyro-ppl", "lightning", "python"}


def test_a_directory_changes_nothing_in_the_training(tmp_path: Path) -> None:
    alone = fit(Decoder(), Encoder(), {"x": X}, epochs=5, batch_size=4, optimizer=ADAM, seed=7, progress=False)
    assert run(tmp_path / "run").history == alone.history


def test_events_of_epochs_that_are_done_again_are_purged(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    interrupted(tmp_path / "run", epoch=4)
    (tmp_path / "run" / "checkpoints" / "0003.pt").unlink()
    result = run(tmp_path / "run", resume=True)
    events = EventAccumulator(str(tmp_path / "run" / "tensorboard")).Reload().Scalars("loss")
    assert [event.step for event in events] == [1, 2, 3, 4, 5]
    assert [event.value for event in events] == pytest.approx([row["loss"] for row in result.history])


def test_weights_of_a_run_can_be_loaded_when_it_is_finished_or_interrupted(tmp_path: Path) -> None:
    result = run(tmp_path / "finished")
    model, guide = Decoder(), Encoder()
    load_weights(tmp_path / "finished", model, guide)
    reached = result.guide.get_parameter("slope").item()  # pyright: ignore[reportFunctionMemberAccess]
    assert guide.slope.item() == reached
    interrupted(tmp_path / "interrupted", epoch=4)
    load_weights(tmp_path / "interrupted", model, guide)
    saved = torch.load(tmp_path / "interrupted" / "checkpoints" / "0003.pt", weights_only=True)
    assert guide.slope.item() == saved["weights"]["guide"]["slope"].item() != reached


def test_programs_that_make_their_parameters_when_called_are_loaded_with_a_batch(tmp_path: Path) -> None:
    trained, guide = AutoNormal(plain_model), AutoNormal(plain_model)
    run(tmp_path / "auto", model=plain_model, guide=trained, batch_size=None)
    message = r"(?s)weights of the guide are not those.*locs.mean_unconstrained: \(\) -> absent.*needs a batch"
    with pytest.raises(ValueError, match=message):
        load_weights(tmp_path / "auto", plain_model, guide)
    load_weights(tmp_path / "auto", plain_model, guide, x=X)
    assert guide.median(x=X)["mean"].item() == trained.median(x=X)["mean"].item() != 0
    assert torch.load(tmp_path / "auto" / "weights.pt", weights_only=True)["store"] == {}
    run(tmp_path / "store", model=plain_model, guide=plain_guide, batch_size=None)
    reached = pyro.param("scale").item()
    pyro.clear_param_store()
    load_weights(tmp_path / "store", plain_model, plain_guide, x=X)
    assert pyro.param("scale").item() == reached != 0.3
    pyro.clear_param_store()


def test_there_must_be_weights_to_load(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="must be the folder of a run, but has no weights and no checkpoint"):
        load_weights(tmp_path, Decoder(), Encoder())


def test_short_epochs_do_not_write_a_checkpoint_each(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "SECONDS_BETWEEN_CHECKPOINTS", 3600.0)
    run(tmp_path / "run")
    assert sorted(path.name for path in (tmp_path / "run" / "checkpoints").iterdir()) == ["0000.pt", "0005.pt"]
