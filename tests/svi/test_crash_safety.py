"""Killed at any moment, or on a full disk, a training leaves what can be gone on from, to the same bits."""

import errno
import functools
import os
import subprocess
import sys
from pathlib import Path

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import nn

from pyrometer.inference.svi import fit, load_weights, training

SCRIPT = """
import sys
from pathlib import Path
import lightning.fabric  # each process would take seconds for it
from pyrometer.benchmarks import crashes
from pyrometer.inference.svi.compiled import build, loop

def loop_in_python(condition, body, carried, others):
    while condition(*carried, *others):
        carried = body(*carried, *others)
    return carried

build._compiler, loop.while_loop = lambda function, options: function, loop_in_python
kills, epochs = 3, 60
found = crashes.broken(Path("broken"), kills, seed=2, epochs=epochs)
assert sum(found.values()) == kills, found
crashes.broken(Path("whole"), 0, seed=2, epochs=epochs)
assert crashes.same(Path("whole"), Path("broken"))
print("survived")
"""


def test_a_compiled_training_that_is_killed_is_resumed_to_the_same_bits(tmp_path):
    """SIGKILL at three random moments, while checkpoints are written after every epoch, against an unbroken run.

    Graphs are run without the C++ compiler here, `python -m benchmarks.crashes` kills 20 that are compiled.
    """
    (tmp_path / "script.py").write_text(SCRIPT)
    done = subprocess.run(
        [sys.executable, "script.py"],
        cwd=tmp_path, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True,
        timeout=500, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[-1] == "survived"


def model(y):
    z = pyro.sample("z", dist.Normal(0.0, 2.0))
    with pyro.plate("data", len(y)):
        pyro.sample("y", dist.Normal(z, 0.7), obs=y)


class Guide(nn.Module):
    """q(z), normal, beside weights that make a checkpoint large."""

    def __init__(self) -> None:
        super().__init__()
        self.loc, self.many = nn.Parameter(torch.tensor(0.3)), nn.Parameter(torch.zeros(20_000))

    def forward(self, y):  # noqa: ARG002
        pyro.sample("z", dist.Normal(self.loc + self.many.mean(), 0.4))


Y = torch.tensor([0.3, -0.1, 1.2])
ARGUMENTS = {"batch_size": None, "seed": 5, "progress": False, "optimizer": functools.partial(torch.optim.SGD, lr=0.01)}


@pytest.fixture
def disk(monkeypatch):
    """A disk with room for so many more bytes."""
    monkeypatch.setattr(training, "SECONDS_BETWEEN_CHECKPOINTS", 0.0)

    def has(room):
        class Filling:
            def __init__(self, file) -> None:
                self.file = file

            def write(self, content):
                nonlocal room
                room -= len(memoryview(content).cast("B"))
                if room < 0:
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                return self.file.write(content)

            def __getattr__(self, name):
                return getattr(self.file, name)

            def __enter__(self):
                return self

            def __exit__(self, *_):
                self.file.close()

        original = Path.open

        def opened(path, mode="r", **others):
            file = original(path, mode, **others)
            return Filling(file) if "w" in mode else file

        monkeypatch.setattr(Path, "open", opened)

    return has


def kept(out):
    """All files of a run that somebody may load."""
    return {path.name: path.read_bytes() for path in out.rglob("*") if path.suffix in {".pt", ".json", ".csv"}}


@pytest.mark.parametrize("room", [100, 150_000, 200_000, 300_000, 450_000])
def test_a_full_disk_is_an_error_that_leaves_the_last_checkpoint_whole(room, tmp_path, disk, monkeypatch):
    """At one write or another; what was there is loaded, and goes on to the bits of an unbroken run."""
    whole, out = Guide(), tmp_path / "run"
    fit(model, whole, {"y": Y}, epochs=8, out=tmp_path / "whole", **ARGUMENTS)
    fit(model, Guide(), {"y": Y}, epochs=2, out=out, **ARGUMENTS)
    disk(room)
    with pytest.raises((OSError, RuntimeError)) as caught:
        fit(model, Guide(), {"y": Y}, epochs=8, out=out, resume=True, **ARGUMENTS)
    monkeypatch.undo()
    assert os.strerror(errno.ENOSPC) in "".join(
        map(str, [caught.value, caught.value.__cause__, caught.value.__context__])
    )
    assert not list(out.rglob("*.tmp"))
    again = Guide()
    load_weights(out, model, again)
    assert again.loc.isfinite()
    fit(model, again, {"y": Y}, epochs=8, out=out, resume=True, **ARGUMENTS)
    assert all(map(torch.equal, whole.parameters(), again.parameters()))


LIMITED = """
import resource, signal, sys
from pathlib import Path
import torch
sys.path.insert(0, sys.argv[1])
import test_crash_safety as case
from pyrometer.inference.svi import fit, training

training.SECONDS_BETWEEN_CHECKPOINTS = 0.0
out = Path("run")
fit(case.model, case.Guide(), {"y": case.Y}, epochs=2, out=out, **case.ARGUMENTS)
before = case.kept(out / "checkpoints")
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
size = max(path.stat().st_size for path in (out / "checkpoints").iterdir())
resource.setrlimit(resource.RLIMIT_FSIZE, (size // 2, resource.RLIM_INFINITY))
try:
    fit(case.model, case.Guide(), {"y": case.Y}, epochs=8, out=out, resume=True, **case.ARGUMENTS)
except (OSError, RuntimeError) as error:
    print(type(error).__name__, error)
assert case.kept(out / "checkpoints") == before
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
fit(case.model, case.Guide(), {"y": case.Y}, epochs=8, out=out, resume=True, **case.ARGUMENTS)
print("went on")
"""


def test_a_file_that_the_system_does_not_let_grow_is_an_error_that_leaves_the_last_checkpoint_whole(tmp_path):
    """By the system's own limit on the size of a file, in a process of its own."""
    pytest.importorskip("resource", reason="limits are of Unix")
    (tmp_path / "script.py").write_text(LIMITED)
    done = subprocess.run(
        [sys.executable, "script.py", str(Path(__file__).parent)],
        cwd=tmp_path, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True,
        timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "Error" in done.stdout
    assert done.stdout.split()[-2:] == ["went", "on"]
