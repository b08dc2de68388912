"""Two processes that torchrun has started train what a single one does; one of them writes, and they stop together.

They are real, and started once for all tests here: they go through ``parallel_script.py``, leave what they have seen,
and then train on until one is killed.
"""

import json
import os
import re
import runpy
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from typer.testing import CliRunner

from pyrometer.cli import app
from pyrometer.inference.svi import load_weights, training
from pyrometer.inference.svi.checkpoint import load_checkpoint, newest

SCRIPT = Path(__file__).with_name("parallel_script.py")
CASES = runpy.run_path(str(SCRIPT.with_name("parallel_programs.py")))
pytestmark = pytest.mark.xdist_group("two processes")  # which are started once, not once for each of xdist's
PATIENCE = 300  # seconds, on a machine that others use


class Two(NamedTuple):
    """What the two processes have seen, where they left files, and torchrun, which still runs."""

    seen: list[dict[str, Any]]
    folder: Path
    torchrun: subprocess.Popen
    log: Path


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Two]:
    folder = tmp_path_factory.mktemp("two")
    # The survivor of a killed process has two seconds for its last words before torchrun looks again.
    options = ["--standalone", "--nproc-per-node", "2", "--monitor-interval", "2"]
    log = folder / "log"
    with log.open("w") as file:
        torchrun = subprocess.Popen(
            [sys.executable, "-m", "torch.distributed.run", *options, str(SCRIPT), str(folder)],
            env={**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "200"},
            stdout=file,
            stderr=subprocess.STDOUT,
        )
    try:
        CASES["train"](CASES["neural"](), steps=6, out=folder / "one-two-one")
        files = [folder / f"{rank}.pt" for rank in (0, 1)]
        started = time.monotonic()
        while not all(file.exists() for file in files):
            assert torchrun.poll() is None, log.read_text()
            assert time.monotonic() - started < PATIENCE, log.read_text()
            time.sleep(0.1)
        yield Two([torch.load(file, weights_only=True) for file in files], folder, torchrun, log)
    finally:
        torchrun.terminate()
        torchrun.wait(PATIENCE)


@pytest.fixture
def checkpoint_after_every_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "SECONDS_BETWEEN_CHECKPOINTS", 0.0)


def assert_same(first: dict[str, Any], second: dict[str, Any]) -> None:
    """To the last bit."""
    assert first["history"] == second["history"]
    assert first["weights"].keys() == second["weights"].keys()
    for name, value in first["weights"].items():
        assert torch.equal(value, second["weights"][name]), name


def assert_close(first: dict[str, Any], second: dict[str, Any]) -> None:
    """To 1e-5: sums of float32 in another order, after some twenty steps of Adam."""
    for name, value in first["weights"].items():
        torch.testing.assert_close(second["weights"][name], value, rtol=1e-5, atol=1e-5)
    for one, other in zip(first["history"], second["history"], strict=True):
        assert one == pytest.approx(other, rel=1e-5)


@pytest.mark.parametrize("case", CASES["EQUAL"])
def test_two_processes_on_half_batches_take_the_steps_of_one_on_whole_batches(case: str, two: Two) -> None:
    """Against the same training here, in one process, with the noise fixed; the start differs in each process."""
    alone = CASES["train"](CASES["EQUAL"][case]())
    assert_close(alone, two.seen[0]["equal"][case])
    assert_same(*(seen["equal"][case] for seen in two.seen))
    moved = CASES["train"](CASES["EQUAL"][case](), steps=1)["weights"]
    assert any(not torch.allclose(moved[name], value, atol=1e-3) for name, value in alone["weights"].items())


def test_two_processes_train_in_bfloat16_and_hold_the_same_weights(two: Two) -> None:
    first, second = (seen["bfloat16"] for seen in two.seen)
    assert_same(first, second)
    assert {value.dtype for value in first["weights"].values()} == {torch.bfloat16}
    assert first["history"][-1]["loss"] < first["history"][0]["loss"] - 1


@pytest.mark.parametrize(
    ("case", "message"),
    [
        ("a latent that all data share", r"\['model: mean', 'guide: mean'\] are outside the plate of the data"),
        ("a shared latent that is summed out", "the site 'k' is summed out and all rows of a batch share it"),
        ("parameters by row", "must take any number of rows to be shared by 2 processes.*Are there parameters by row"),
        ("weights of all rows", "objective must be a sum over the rows of a batch.*RenyiELBO is none"),
        ("a function of the whole", "neither the sum nor the mean of those for the shares"),
        ("normalisation of too few rows", "a batch has 1 rows for 2 processes, of which each must have one"),
        ("normalisation beside gradients of its own", "must be one whose loss can be differentiated"),
        ("more processes than rows", "it has 1 for 2 processes: choose a larger batch size, or start fewer"),
        ("streams that cannot be halved", r"data\['labelled'\] has 3 rows in a batch, and 2 processes cannot share"),
        ("other data in each", r"must call fit with the same arguments.*data.x: .*\(process 1\)"),
        ("a loader with another order in each", "must give the same batches in the same order in each"),
    ],
)
def test_what_cannot_be_shared_is_refused_in_every_process(case: str, message: str, two: Two) -> None:
    for seen in two.seen:
        assert seen["refused"][case]["type"] == "ValueError"
        assert re.search(message, seen["refused"][case]["message"], re.DOTALL), seen["refused"][case]["message"]


def test_a_loss_that_is_nan_in_one_process_stops_both_with_its_site_and_rows(two: Two) -> None:
    """The model is NaN for row 13 and no other; one of the two processes has it."""
    first, second = (seen["refused"]["a loss that is NaN in one"] for seen in two.seen)
    assert first["type"] == second["type"] == "NonFiniteLossError"
    assert first["message"] == second["message"]
    assert first["rows"] == second["rows"] == {"data": [13]}
    assert "model: x is not finite in rows of data: 13" in first["message"]
    assert sorted([*first["notes"], *second["notes"]]) in (
        ["Raised first in process 0."],
        ["Raised first in process 1."],
    )


@pytest.mark.parametrize(
    ("found", "kind", "message", "origin"),
    [
        (lambda seen: seen["refused"]["a process that fails"], "ValueError", "has had enough", 1),
        (
            lambda seen: seen["refused"]["a process that fails where others normalise"],
            *("ValueError", "has had enough", 1),
        ),
        (
            lambda seen: seen["refused"]["a process that fails when others differentiate"],
            *("ValueError", "has had enough", 1),
        ),
        (lambda seen: seen["refused"]["a loader that fails"], "OSError", "the disk is gone", 1),
        (lambda seen: seen["refused"]["on_epoch that fails"], "ValueError", "could not convert", 0),
        (lambda seen: seen["full"], "OSError", "no space left", 0),
    ],
)
def test_an_error_of_one_process_is_raised_in_both(found: Any, kind: str, message: str, origin: int, two: Two) -> None:
    for rank, seen in enumerate(two.seen):
        assert found(seen)["type"] == kind
        assert message in found(seen)["message"]
        assert found(seen)["notes"] == ([] if rank == origin else [f"Raised first in process {origin}."])


def test_an_interrupt_of_one_process_stops_both_after_one_step_and_the_run_can_be_continued(two: Two) -> None:
    """The second process gets SIGINT in step 10 of 20, three steps an epoch."""
    for seen in two.seen:
        assert seen["interrupted"]["type"] == "KeyboardInterrupt"
        assert "resume=True" in seen["interrupted"]["notes"][-1]
    assert newest(two.folder / "interrupted" / "checkpoints") == two.folder / "interrupted" / "checkpoints" / "0003.pt"


@pytest.mark.usefixtures("checkpoint_after_every_epoch")
def test_a_run_goes_on_in_two_processes_and_then_in_one_again(two: Two) -> None:
    """Against a run of one process that nobody interrupted; 6 steps in one, 6 in two, 6 in one."""
    last = CASES["train"](CASES["neural"](), steps=18, out=two.folder / "one-two-one", resume=True)
    assert_close(CASES["train"](CASES["neural"](), steps=18), last)
    assert_same(*(seen["continued"] for seen in two.seen))
    assert len(two.seen[0]["continued"]["history"]) == 4


def test_each_process_draws_noise_of_its_own_and_a_resumed_run_draws_the_same(two: Two) -> None:
    first, second = (seen["noise"] for seen in two.seen)
    assert not {*first["drawn"]} & {*second["drawn"]}
    for seen in (first, second):
        assert_same(seen["whole"][0], seen["whole"][1])
        assert_same(seen["whole"][0], seen["resumed"])
    assert_same(first["whole"][0], second["whole"][0])


def test_the_first_process_alone_writes_shows_warns_and_calls_on_epoch(two: Two) -> None:
    first, second = (seen["spoken"] for seen in two.seen)
    assert first["calls"] == [0, 0, 0]
    assert second["calls"] == []
    assert first["history"] == second["history"]
    assert [row["rank"] for row in second["history"]] == [0, 0, 0]
    assert "epoch 3" in first["shown"]
    assert second["shown"] == ""
    assert first["warnings"] > 0
    assert second["warnings"] == 0
    files = [path.name for path in (two.folder / "spoken").rglob("*") if path.is_file()]
    assert sum(name.startswith("events.out") for name in files) == 1
    assert {"settings.json", "metrics.csv", "summary.json", "weights.pt", "0002.pt", "0003.pt"} <= {*files}
    assert len((two.folder / "spoken" / "metrics.csv").read_text().splitlines()) == 1 + 3
    assert "distributed" not in two.log.read_text()  # Lightning's announcement


def test_the_command_trains_in_both_and_prints_once(two: Two) -> None:
    (fitted, taken, *_), others = (seen["commanded"]["printed"] for seen in two.seen)
    assert fitted["out"].count("free_energy_kind") == 1
    assert "already holds a run" in taken["error"]
    assert [(one["out"], one["error"]) for one in others[:2]] == [("", "")] * 2
    assert [one["code"] for one in (taken, others[1])] == [2, 2]
    summary = json.loads((two.folder / "command" / "summary.json").read_text())
    assert summary["epochs"] == 2
    assert "test_log_evidence" in summary


def test_the_processes_share_the_data_of_an_energy_run_and_the_first_prints_all(two: Two) -> None:
    """Against the command in one process: exact sums over a discrete latent, so that what is printed is equal."""
    _, _, energies, too_few, samples, _ = two.seen[0]["commanded"]["printed"]
    others = two.seen[1]["commanded"]["printed"][2:]
    run = str(two.folder / "command")
    command = ["energy", run, "--count", "5", "--betas", "0.5,1", "--draws", "100", "--no-pictures"]
    alone = CliRunner().invoke(app, command).stdout
    exact = [
        [line.split()[:4] for line in text.splitlines() if line[:5].strip().isdigit()]
        for text in (alone, energies["out"])
    ]
    assert exact[0] == exact[1]
    assert len(exact[0]) == 5
    assert alone.split("enumerate (exact)")[1] == energies["out"].split("enumerate (exact)")[1]
    assert "2 processes cannot share 1 data" in too_few["error"]
    assert "samples.nc" in samples["out"]
    assert [one["out"] for one in others] == [""] * 4


def test_the_processes_share_the_data_of_a_diagnosis_and_the_first_gives_the_verdict(two: Two) -> None:
    assert [seen["commanded"]["judged"] for seen in two.seen] == [[3], [2]]
    first = two.seen[0]["commanded"]["printed"][-1]
    assert "for all 5 data" in first["out"]
    assert "at 5 data" in first["out"]
    assert (two.folder / "command" / "posterior.nc").is_file()


def test_a_process_that_is_killed_ends_the_other_and_leaves_the_last_checkpoint_whole(two: Two) -> None:
    """SIGKILL for the second, in the middle of a training that writes a checkpoint after every epoch."""
    checkpoints = two.folder / "killed" / "checkpoints"
    started = time.monotonic()
    while not (checkpoints.exists() and (newest(checkpoints) or Path("0")).stem > "0003"):
        assert time.monotonic() - started < PATIENCE
        time.sleep(0.05)
    os.kill(two.seen[1]["pid"], signal.SIGKILL)
    assert two.torchrun.wait(timeout=PATIENCE) != 0
    words = json.loads((two.folder / "last words.json").read_text())
    assert words["rank"] == 0
    assert "has lost another of the 2 processes of the training" in words["message"]
    assert "exitcode  : -9" in two.log.read_text()
    last = newest(checkpoints)
    assert last is not None
    state = load_checkpoint(last)
    assert state["epoch"] == int(last.stem)
    load_weights(two.folder / "killed", *(CASES["neural"]()[role] for role in ("model", "guide")))


def test_without_torchrun_no_process_group_is_made() -> None:
    CASES["train"](CASES["neural"](), steps=1)
    assert not torch.distributed.is_initialized()
