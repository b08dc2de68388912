"""An interrupted run that is resumed ends where the uninterrupted one does, to the last bit."""

import functools
import json
import os
import signal
import subprocess
import sys
import time
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
from torch.utils.data import DataLoader

from pyrometer.inference.svi import Fit, fit, training

N = 11
X = torch.linspace(-1.0, 2.0, N)
DATA = {"x": X}
ADAM = functools.partial(torch.optim.Adam, lr=0.05)


@pytest.fixture(autouse=True)
def checkpoint_after_every_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "SECONDS_BETWEEN_CHECKPOINTS", 0.0)


class Decoder(nn.Module):
    """x ~ N(norm(z) * slope, noise), with running statistics and dropout, so that everything there is to restore is."""

    def __init__(self) -> None:
        super().__init__()
        self.slope = nn.Parameter(torch.tensor(0.3))
        self.norm, self.dropout = nn.BatchNorm1d(1), nn.Dropout(0.3)

    def forward(self, x: Tensor) -> None:
        """The program."""
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 2.0))
            center = self.dropout(self.norm(z[:, None]))[:, 0] * self.slope
            pyro.sample("x", dist.Normal(center, 0.5), obs=x)


class Encoder(nn.Module):
    """q(z | x) = N(slope x, scale)."""

    def __init__(self) -> None:
        super().__init__()
        self.slope, self.log_scale = nn.Parameter(torch.tensor(0.2)), nn.Parameter(torch.tensor(-0.5))

    def forward(self, x: Tensor) -> None:
        """The program."""
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(self.slope * x, self.log_scale.exp()))


def plain_model(x: Tensor) -> None:
    mean = pyro.sample("mean", dist.Normal(0.0, 2.0))
    with pyro.plate("data", len(x)):
        pyro.sample("x", dist.Normal(mean, 0.5), obs=x)


def plain_guide(x: Tensor) -> None:  # noqa: ARG001
    scale = pyro.param("scale", lambda: torch.rand(()) + 0.3, constraint=dist.constraints.positive)
    pyro.sample("mean", dist.Normal(pyro.param("loc", lambda: torch.randn(())), scale))


def shuffled() -> DataLoader:
    items: Any = [{"x": x} for x in X]
    return DataLoader(items, batch_size=4, shuffle=True)


def shuffled_by_its_own_generator() -> DataLoader:
    items: Any = [{"x": x} for x in X]
    return DataLoader(items, batch_size=4, shuffle=True, generator=torch.Generator().manual_seed(3))


def both_streams(model: Callable, guide: Callable, many: dict[str, Tensor], few: dict[str, Tensor]) -> Tensor:
    return sum((Trace_ELBO().differentiable_loss(model, guide, **part) for part in (many, few)), torch.zeros(()))


CASES: dict[str, Callable[[], dict[str, Any]]] = {
    "modules": lambda: {"model": Decoder(), "guide": Encoder(), "data": DATA, "batch_size": 4},
    "loader": lambda: {"model": Decoder(), "guide": Encoder(), "data": shuffled()},
    "generator": lambda: {"model": Decoder(), "guide": Encoder(), "data": shuffled_by_its_own_generator()},
    "autoguide": lambda: {"model": plain_model, "guide": AutoNormal(plain_model), "data": DATA, "batch_size": None},
    "store": lambda: {"model": plain_model, "guide": plain_guide, "data": DATA, "batch_size": None},
    "schedule": lambda: {
        "model": Decoder(), "guide": Encoder(), "data": DATA, "batch_size": 4, "schedule": lambda done: 1 - done,
    },
    "streams": lambda: {
        "model": Decoder(), "guide": Encoder(), "objective": both_streams,
        "data": {"many": DATA, "few": {"x": X[:6]}}, "batch_size": {"many": 4, "few": 3},
    },
}  # fmt: skip


def run(case: str, out: Path, resume: bool = False, epochs: int = 5, **arguments: Any) -> tuple[Fit, dict[str, Any]]:
    """Train a case from its beginning, or go on with it; the result, and all weights that were reached."""
    pyro.clear_param_store()
    usual = {"optimizer": ADAM, "seed": 7, "epochs": epochs, "progress": False, **CASES[case]()}
    result = fit(**{**usual, **arguments}, out=out, resume=resume)
    store = {name: value.detach().clone() for name, value in pyro.get_param_store().items()}
    pyro.clear_param_store()
    states = [part.state_dict() if isinstance(part, nn.Module) else {} for part in (result.model, result.guide)]
    return result, {**states[0], **states[1], **store}


def assert_same(first: tuple[Fit, dict[str, Any]], second: tuple[Fit, dict[str, Any]]) -> None:
    assert first[0].history == second[0].history
    assert first[1].keys() == second[1].keys()
    assert first[1]
    for name, value in first[1].items():
        assert torch.equal(value, second[1][name]), name


@pytest.fixture
def interrupt(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Lets the given step of the next training raise KeyboardInterrupt, as Ctrl-C does."""
    original = training.Training._step

    def at(step: int) -> None:
        def stepping(self: training.Training, *args: Any) -> float:
            if self.step == step:
                monkeypatch.setattr(training.Training, "_step", original)
                raise KeyboardInterrupt
            return original(self, *args)

        monkeypatch.setattr(training.Training, "_step", stepping)

    return at


@pytest.mark.parametrize("case", CASES)
def test_a_resumed_run_is_the_uninterrupted_one(case: str, tmp_path: Path, interrupt: Callable[[int], None]) -> None:
    whole = run(case, tmp_path / "whole")
    steps = whole[0].steps
    for step in (0, 1, steps // 2, steps - 1):
        interrupt(step)
        with pytest.raises(KeyboardInterrupt) as caught:
            run(case, tmp_path / str(step))
        assert f"out='{tmp_path / str(step)}' and resume=True" in caught.value.__notes__[0]
        torch.rand(7)
        resumed = run(case, tmp_path / str(step), resume=True)
        assert_same(whole, resumed)
        assert resumed[0].epochs == 5


def test_a_run_interrupted_many_times_is_the_uninterrupted_one(
    tmp_path: Path, interrupt: Callable[[int], None]
) -> None:
    whole = run("modules", tmp_path / "whole")
    for step in (1, 4, 4, 8, 14):
        interrupt(step)
        with pytest.raises(KeyboardInterrupt):
            run("modules", tmp_path / "run", resume=True)
    assert_same(whole, run("modules", tmp_path / "run", resume=True))


SCRIPT = """
import os, signal, sys, time
from pathlib import Path

import pyro, pyro.distributions as dist, torch
from torch import nn
from pyrometer.inference.svi import fit, training

training.SECONDS_BETWEEN_CHECKPOINTS = 0.0

def model(x):
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Normal(0.0, 2.0))
        pyro.sample("x", dist.Normal(z, 0.5), obs=x)

class Guide(nn.Module):
    def __init__(self):
        super().__init__()
        self.slope = nn.Parameter(torch.tensor(0.2))

    def forward(self, x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(self.slope * x, 0.3))

def train(out, epochs):
    data = {"x": torch.linspace(-1.0, 2.0, 11)}
    options = {"batch_size": 4, "seed": 3, "compile": False, "progress": False}
    result = fit(model, Guide(), data, epochs=epochs, out=out, resume=True, **options)
    print(result.guide.slope.item().hex(), result.loss.hex(), flush=True)

def in_another_process(out, epochs):
    pid = os.fork()
    if pid == 0:
        try:
            train(out, epochs)
            os._exit(0)
        except KeyboardInterrupt:
            os._exit(5)
    return pid

def reached(out):
    return max([int(path.stem) for path in Path(out, "checkpoints").glob("*.pt")], default=-1)

def disturb(out, sent, after, expected):
    pid = in_another_process(out, epochs=10**6)
    while reached(out) < after:
        assert os.waitpid(pid, os.WNOHANG) == (0, 0), "the training ended by itself"
        time.sleep(0.001)
    os.kill(pid, sent)
    assert os.waitpid(pid, 0)[1] == expected

import lightning.fabric  # each process would take seconds for it
for epoch in (0, 1, 8, 9, 20):
    disturb("killed", signal.SIGKILL, epoch, expected=signal.SIGKILL)
for epoch in (0, 2, 15):
    disturb("interrupted", signal.SIGINT, epoch, expected=5 << 8)
epochs = 3 + max(reached("killed"), reached("interrupted"))
for out in ("whole", "killed", "interrupted"):
    assert os.waitpid(in_another_process(out, epochs), 0)[1] == 0
"""


class Interrupting:
    """Presses Ctrl-C when it is collected, where Python drops the exception."""

    def __del__(self) -> None:
        signal.raise_signal(signal.SIGINT)


class InterruptedOnce(nn.Module):
    """x ~ N(location, 0.5); its twelfth run is interrupted in this way."""

    def __init__(self) -> None:
        super().__init__()
        self.location, self.runs = nn.Parameter(torch.tensor(0.3)), 0

    def forward(self, x: Tensor) -> None:
        self.runs += 1
        if self.runs == 12:
            Interrupting()
        with pyro.plate("data", len(x)):
            pyro.sample("x", dist.Normal(self.location, 0.5), obs=x)


def test_an_interrupt_that_comes_in_a_destructor_stops_the_training_after_its_step(tmp_path: Path) -> None:
    """Python itself says "exception ignored" and goes on. Then it is continued."""
    model, before = InterruptedOnce(), signal.getsignal(signal.SIGINT)
    arguments: Any = (model, lambda x: None, {"x": torch.linspace(-1.0, 2.0, 7)})  # noqa: ARG005
    options: Any = {"epochs": 40, "batch_size": None, "seed": 3, "progress": False, "compile": False}
    with pytest.raises(KeyboardInterrupt):
        fit(*arguments, out=tmp_path / "run", **options)
    assert model.runs == 12
    assert signal.getsignal(signal.SIGINT) is before
    assert fit(*arguments, out=tmp_path / "run", resume=True, **options).epochs == 40


def test_a_process_that_is_killed_or_interrupted_is_resumed_to_the_same_bits(tmp_path: Path) -> None:
    """SIGKILL at five moments and SIGINT at three, resumed in between, against a process that nobody disturbed."""
    (tmp_path / "script.py").write_text(SCRIPT)
    command = [sys.executable, "-W", "error", "script.py"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    whole, killed, interrupted = done.stdout.splitlines()
    assert whole == killed == interrupted
    assert len(whole.split()) == 2


def test_a_finished_run_is_loaded_at_once_and_nothing_written(tmp_path: Path) -> None:
    first = run("modules", tmp_path / "run")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "run").rglob("*")}
    assert_same(first, run("modules", tmp_path / "run", resume=True))
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "run").rglob("*")} == before


def test_a_run_that_ended_before_its_summary_was_written_gets_it(tmp_path: Path) -> None:
    first = run("modules", tmp_path / "run")
    (tmp_path / "run" / "weights.pt").unlink()
    (tmp_path / "run" / "summary.json").unlink()
    assert_same(first, run("modules", tmp_path / "run", resume=True))
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["steps"] == 15


def test_a_finished_run_can_be_made_longer(tmp_path: Path) -> None:
    whole = run("modules", tmp_path / "whole", epochs=5)
    run("modules", tmp_path / "run", epochs=2)
    longer = run("modules", tmp_path / "run", epochs=5, resume=True)
    assert_same(whole, longer)
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["epochs"] == 5


@pytest.mark.parametrize(
    ("case", "first", "then", "message"),
    [
        ("schedule", {"epochs": 2}, {"epochs": 5}, "schedule or objective depends on how much of the training is done"),
        ("modules", {"epochs": 3}, {"epochs": 2}, "3 epochs, 9 steps are done: ask for no less"),
        ("modules", {"epochs": None, "steps": 4}, {"epochs": None, "steps": 8}, "ended in the middle of an epoch"),
    ],
)
def test_a_length_that_a_run_cannot_have_is_refused(
    case: str, first: dict[str, Any], then: dict[str, Any], message: str, tmp_path: Path
) -> None:
    run(case, tmp_path / "run", **first)
    with pytest.raises(ValueError, match=message):
        run(case, tmp_path / "run", resume=True, **then)
    assert (tmp_path / "run" / "summary.json").exists()


def test_steps_that_end_with_an_epoch_can_be_made_more(tmp_path: Path) -> None:
    whole = run("modules", tmp_path / "whole", epochs=None, steps=9)  # pyright: ignore[reportArgumentType]
    run("modules", tmp_path / "run", epochs=None, steps=6)  # pyright: ignore[reportArgumentType]
    assert_same(whole, run("modules", tmp_path / "run", epochs=None, steps=9, resume=True))  # pyright: ignore[reportArgumentType]


def test_without_a_seed_a_run_goes_on_with_its_own(tmp_path: Path, interrupt: Callable[[int], None]) -> None:
    interrupt(8)
    with pytest.raises(KeyboardInterrupt):
        run("modules", tmp_path / "run", seed=None)
    seed = json.loads((tmp_path / "run" / "settings.json").read_text())["fit"]["seed"]
    assert_same(run("modules", tmp_path / "whole", seed=seed), run("modules", tmp_path / "run", seed=None, resume=True))


@pytest.mark.parametrize("damage", ["truncated", "flipped", "empty"])
def test_a_damaged_checkpoint_is_named_and_the_one_before_is_offered(damage: str, tmp_path: Path) -> None:
    whole = run("modules", tmp_path / "whole")
    run("modules", tmp_path / "run", epochs=3)
    newest = tmp_path / "run" / "checkpoints" / "0003.pt"
    content = bytearray(newest.read_bytes())
    content[len(content) // 2] ^= 0xFF
    newest.write_bytes(
        {"truncated": bytes(content[: len(content) // 2]), "flipped": bytes(content), "empty": b""}[damage]
    )
    with pytest.raises(ValueError, match=r"0003.pt is truncated or damaged.*Delete it to go on from 0002.pt"):
        run("modules", tmp_path / "run", resume=True)
    newest.unlink()
    assert_same(whole, run("modules", tmp_path / "run", resume=True))


def test_resume_starts_a_new_run_where_there_is_none(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert_same(run("modules", tmp_path / "empty", resume=True), run("modules", tmp_path / "none", resume=True))


def test_seconds_add_up_over_resumes(tmp_path: Path, interrupt: Callable[[int], None]) -> None:
    interrupt(12)
    with pytest.raises(KeyboardInterrupt):
        run("modules", tmp_path / "run", on_epoch=lambda *_: time.sleep(0.05) or {})
    result, _ = run("modules", tmp_path / "run", resume=True)
    assert result.seconds > 4 * 0.05
