"""Two processes that torchrun has started take compiled steps, which reach what their plain steps reach.

They are real, and started once for all tests here: they go through ``parallel_compiled_script.py``, leave what they
have seen, and then train on until one is killed. All but one of their graphs are run operation by operation, as a
compiler takes seconds for each.
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
from torch._inductor.cpp_builder import get_cpp_compiler
from torch._inductor.exc import InvalidCxxCompiler

from pyrometer.inference.svi.checkpoint import load_checkpoint, newest

SCRIPT = Path(__file__).with_name("parallel_compiled_script.py")
LOSSES, PARAMETERS = 1e-5, 1e-4  # as benchmarks/exactness has them, relative, after 30 steps
PATIENCE = 300  # seconds, on a machine that others use
pytestmark = pytest.mark.xdist_group("two processes")

CASES = [
    *("noise of its own, in uneven shares", "an empty share", "a gradient in one process alone"),
    *("a schedule and a temperature", "an optimizer that is not known", "a rate that decays", "rows"),
    *("a function that is a mean", "a subsampled plate", "an ELBO that adds to gradients itself"),
    *("all rows, in Pyro's store", "streams", "batch normalisation", "batch normalisation in a mean"),
]


class Two(NamedTuple):
    """What the two processes have seen, where they left files, and torchrun, which still runs."""

    seen: list[dict[str, Any]]
    folder: Path
    torchrun: subprocess.Popen
    log: Path


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Two]:
    folder = tmp_path_factory.mktemp("two compiled")
    # The survivor of a killed process has two seconds for its last words before torchrun looks again.
    options = ["--standalone", "--nproc-per-node", "2", "--monitor-interval", "2"]
    log = folder / "log"
    with log.open("w") as file:
        torchrun = subprocess.Popen(
            [sys.executable, "-m", "torch.distributed.run", *options, str(SCRIPT), str(folder), *has_compiler()],
            env={**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "200"},
            stdout=file,
            stderr=subprocess.STDOUT,
        )
    try:
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


def has_compiler() -> list[str]:
    """The word that lets the script compile."""
    try:
        get_cpp_compiler()
    except InvalidCxxCompiler:
        return []
    return [] if " " in sys.prefix else ["compiler"]


def assert_exact(first: dict[str, Any], second: dict[str, Any]) -> None:
    """As compiled steps of one process are."""
    for one, other in zip(first["history"], second["history"], strict=True):
        assert other["loss"] == pytest.approx(one["loss"], rel=LOSSES)
    for name, value in first["weights"].items():
        off, size = (second["weights"][name] - value).double().norm(), value.double().norm()
        assert off <= PARAMETERS * size, name


def assert_same(first: dict[str, Any], second: dict[str, Any]) -> None:
    """To the last bit."""
    assert first["history"] == second["history"]
    for name, value in first["weights"].items():
        assert torch.equal(value, second["weights"][name]), name


@pytest.mark.parametrize("case", CASES)
def test_compiled_steps_of_two_processes_reach_what_plain_ones_reach(case: str, two: Two) -> None:
    """Against plain steps of the same two processes, with the noise of the same seeds."""
    first, second = (seen["exact"][case] for seen in two.seen)
    assert_exact(first["plain"], first["compiled"])
    assert_same(first["compiled"], second["compiled"])
    rule = "beside it" if case == "an optimizer that is not known" else "in the graph"
    for seen in (first, second):
        shapes = seen["compiled"]["engine"].partition(" (")[0].split("; ")
        assert set(shapes) == {f"compiled with the optimizer {rule}, in 2 processes"}
        assert seen["plain"]["engine"] == "plain steps"


@pytest.mark.parametrize("case", ["rows", "an ELBO that adds to gradients itself", "batch normalisation in a mean"])
def test_compiled_steps_of_two_processes_reach_what_one_process_reaches_with_the_same_noise(
    case: str, two: Two
) -> None:
    """Against plain steps of one process, here, on whole batches."""
    cases = runpy.run_path(str(SCRIPT.with_name("parallel_programs.py")))
    assert_exact(cases["train"](cases["EQUAL"][case](), steps=30), two.seen[0]["exact"][case]["compiled"])


def test_both_shapes_of_a_batch_have_a_graph_and_so_does_a_process_without_rows(two: Two) -> None:
    """17 rows in batches of 8: the last batch has one row, which the first process has."""
    for seen in two.seen:
        assert seen["exact"]["an empty share"]["compiled"]["engine"].count("compiled") == 2


def test_compiled_steps_by_the_real_compiler_reach_what_plain_ones_reach(two: Two) -> None:
    if not has_compiler():
        pytest.skip("no C++ compiler is there, or none that torch can call")
    for seen in two.seen:
        found = seen["by the compiler"]
        assert_exact(found["plain"], found["compiled"])
        assert found["compiled"]["engine"].startswith("compiled with the optimizer in the graph, in 2 processes")


@pytest.mark.parametrize(
    "case", ["noise of its own, in uneven shares", "an empty share", "an optimizer that is not known"]
)
def test_gradients_that_are_summed_over_the_network_are_those_of_common_memory(case: str, two: Two) -> None:
    """As between machines: one sum of gradients, loss and signs of failure."""
    first, second = (seen["over the network"][case]["compiled"] for seen in two.seen)
    assert_exact(two.seen[0]["exact"][case]["compiled"], first)
    assert_same(first, second)
    assert first["engine"].startswith("compiled")


def test_common_memory_has_no_name_once_all_have_it(two: Two) -> None:
    """Nothing is left there, even by a process that is killed later."""
    assert [seen["left"] for seen in two.seen] == [[], []]


def test_where_one_process_cannot_compile_all_take_plain_steps_and_say_why(two: Two) -> None:
    """The program reads a number in the second process alone."""
    for seen in two.seen:
        found = seen["refused"]
        assert_same(found["plain"], found["compiled"])
        assert found["compiled"]["engine"].startswith("plain steps: ")
        assert re.search(r"reads the value of a tensor .*\(in process 1\)", found["compiled"]["engine"], re.DOTALL)


@pytest.mark.parametrize("beside_normalisation", [False, True])
def test_a_loss_that_is_nan_in_one_process_stops_compiled_steps_of_both_before_they_move_a_weight(
    beside_normalisation: bool, two: Two
) -> None:
    """The model is NaN for row 13 and no other; plain steps stop at the same place with the same weights."""
    first, second = (seen["nan"][beside_normalisation] for seen in two.seen)
    for found in (first, second):
        assert found["compiled"]["type"] == "NonFiniteLossError"
        assert found["compiled"]["message"] == found["plain"]["message"]
        assert found["compiled"]["rows"] == {"data": [13]}
        for name, value in found["plain"]["weights"].items():
            torch.testing.assert_close(found["compiled"]["weights"][name], value, rtol=1e-4, atol=1e-6)
    assert "batch 1:" not in first["compiled"]["message"]  # some steps were compiled before
    notes = [*first["compiled"]["notes"], *second["compiled"]["notes"]]
    assert notes in (["Raised first in process 0."], ["Raised first in process 1."])


def test_an_error_of_one_process_is_raised_in_the_other_which_waits_for_it_within_a_graph(two: Two) -> None:
    """The second fails in the middle of a step, and the first is at a normalisation over the rows of both."""
    for rank, seen in enumerate(two.seen):
        assert seen["failing"]["type"] == "ValueError"
        assert "has had enough" in seen["failing"]["message"]
        assert seen["failing"]["notes"] == ([] if rank == 1 else ["Raised first in process 1."])
        assert seen["failing"]["steps"] > 10


def test_a_resumed_run_of_compiled_steps_reaches_what_an_uninterrupted_one_reaches_bit_for_bit(two: Two) -> None:
    for seen in two.seen:
        assert seen["resumed"]["resumed"]["engine"].startswith("compiled")
        assert_same(seen["resumed"]["whole"], seen["resumed"]["resumed"])


def test_an_interrupt_of_one_process_stops_compiled_steps_of_both_between_two_steps(two: Two) -> None:
    """The second process gets SIGINT in step 10 of 20, three steps an epoch."""
    for seen in two.seen:
        assert seen["interrupted"]["type"] == "KeyboardInterrupt"
        assert "resume=True" in seen["interrupted"]["notes"][-1]
    assert newest(two.folder / "interrupted" / "checkpoints") == two.folder / "interrupted" / "checkpoints" / "0003.pt"


def test_what_on_epoch_does_in_the_first_process_is_checked_in_both(two: Two) -> None:
    """A check after every epoch; and where weights are moved in memory, though in one process, graphs anew in both."""
    for seen in two.seen:
        checked, moved = seen["looked at"]["checked"], seen["looked at"]["moved"]
        assert checked["compiled"]["engine"].count("compiled") == 2
        assert moved["compiled"]["engine"].count("compiled") > 2
        assert_exact(checked["plain"], checked["compiled"])
        assert_exact(moved["plain"], moved["compiled"])


def test_the_first_process_decides_for_all_whether_compiling_pays(two: Two) -> None:
    """One has measured that a loss takes long, and the other that it takes no time."""
    for seen in two.seen:
        assert [engine.split()[0] for engine in seen["two minds"]] == ["compiled", "plain"]


def test_a_process_that_is_killed_ends_the_compiled_steps_of_the_other(two: Two) -> None:
    """SIGKILL for the second; the last checkpoint is whole."""
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
    last = newest(checkpoints)
    assert last is not None
    state = load_checkpoint(last)
    assert state["epoch"] == int(last.stem)
    assert state["shapes"]["known"]
