"""Code that writes where it must not ends a process of its own, and not the one that trains; planted faults show it."""

import ctypes
import json
import subprocess
import sys
import textwrap

import pytest
import torch

from pyrometer.inference.compiler import UnsafeCodeError, rehearsal
from pyrometer.inference.compiler.guarded_memory import guards_available
from pyrometer.inference.compiler.rehearsal import rehearse

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="compiled code is tried in a fork on Linux alone")


def written_past_the_end(by):
    def function(tensor):
        end = tensor.data_ptr() + tensor.numel() * tensor.element_size()
        ctypes.memset(end + by - 1, 7, 1)
        return [tensor + 1]

    return function


@pytest.mark.parametrize("by", [1, 60, 4096])
def test_a_write_past_the_end_of_an_input_is_found(by):
    """One byte, the last before a page of its own, and far; 13 numbers of 4 bytes leave 12 to the end of a block."""
    if not guards_available():
        pytest.skip("guarded memory cannot be built here: there is no C++ compiler")
    with pytest.raises(UnsafeCodeError, match=r"ended its process \(SIG(ABRT|SEGV)\)"):
        rehearse(written_past_the_end(by), [torch.ones(13)])


def test_a_write_before_the_start_of_what_a_function_makes_is_found():
    if not guards_available():
        pytest.skip("guarded memory cannot be built here: there is no C++ compiler")

    def function(tensor):
        made = tensor * 2
        page = made.data_ptr() // 4096 * 4096
        ctypes.memset(page - 1, 7, 1)
        return [made]

    with pytest.raises(UnsafeCodeError):
        rehearse(function, [torch.ones(1000)])


def test_a_run_leaves_its_inputs_as_they_are_and_keeps_their_strides():
    """Also of transposed, expanded and empty ones: the function sees the same numbers."""
    tensors = [torch.arange(6.0).reshape(2, 3).t(), torch.tensor([2.0]).expand(4), torch.empty(0)]
    before = [tensor.clone() for tensor in tensors]

    def function(matrix, repeated, empty):
        fine = matrix.stride() == (1, 3) and repeated.stride() == (0,) and empty.numel() == 0
        fine = fine and matrix.tolist() == [[0, 3], [1, 4], [2, 5]] and repeated.tolist() == [2.0] * 4
        matrix.zero_()
        return [] if fine else ctypes.string_at(0)

    rehearse(function, tensors)
    assert all(torch.equal(tensor, old) for tensor, old in zip(tensors, before, strict=True))


def test_several_threads_run_after_the_fork():
    """The parent's threads of OpenMP are not there in the fork, which makes its own."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        large = torch.rand(400, 400)
        (large @ large).sum()  # the parent has them
        rehearse(lambda matrix: [(matrix @ matrix).exp().sum()], [large])
    finally:
        torch.set_num_threads(before)


def test_a_run_that_never_ends_is_ended(monkeypatch):
    monkeypatch.setattr(rehearsal, "PATIENCE", 0.5)

    def function(_tensor):
        while True:
            pass

    with pytest.raises(UnsafeCodeError, match="had not ended after 0 s"):
        rehearse(function, [torch.ones(2)])


def test_an_error_of_python_is_left_to_the_run_that_counts():
    def function(tensor):
        raise ValueError(f"of {tensor.shape}")

    rehearse(function, [torch.ones(2)])


TRAINING = """
import ctypes, functools, json, sys, warnings
import pyro, torch
import pyro.distributions as dist
from pyro.infer.autoguide import AutoNormal
from pyrometer import fit
from pyrometer.inference.compiler import compile_at
from pyrometer.inference.compiler.torch_internals import compile_graph

torch.set_num_threads(2)

def model(y):
    rate = pyro.sample("rate", dist.Gamma(2.0, 3.0))
    with pyro.plate("data", len(y)):
        pyro.sample("y", dist.Exponential(rate), obs=y)

def past_the_end(compiled):
    def function(*tensors):
        written = max(tensors, key=torch.numel)
        ctypes.memset(written.data_ptr() + written.numel() * written.element_size(), 7, 5000)
        return compiled(*tensors)
    return function

def wrong_with_two_threads(compiled):
    def function(*tensors):
        results = compiled(*tensors)
        if torch.get_num_threads() == 2:
            for tensor in tensors:
                if tensor.is_floating_point() and tensor.dim() == 1:
                    tensor.mul_(1.1)
        return results
    return function

fault = {"none": None, "past": past_the_end, "threads": wrong_with_two_threads}[sys.argv[1]]
if fault is not None:
    sys.modules[compile_at.__module__].compile_graph = lambda *arguments: fault(compile_graph(*arguments))
y = torch.tensor([0.3, 0.1, 1.2, 2.0, 0.7])
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    pyro.set_rng_seed(2)
    guide = AutoNormal(model)
    result = fit(model, guide, {"y": y}, steps=40, batch_size=None, seed=1, progress=False, compile=True)
weights = [parameter.item() for parameter in guide.parameters()]
print(json.dumps([result.engine, result.loss, weights, [str(one.message) for one in caught]]))
"""


@pytest.mark.usefixtures("compiler")
@pytest.mark.parametrize(
    ("fault", "reason"),
    [("past", "a run of the compiled code on copies ended its process (SIG"), ("threads", "of a compiled step")],
)
def test_a_training_with_a_planted_fault_in_its_compiled_code_ends_well(fault, reason):
    """Plain steps are taken and the reason is told; against a training that never compiled."""

    def run(argument, compile="True"):
        code = textwrap.dedent(TRAINING).replace("compile=True", f"compile={compile}")
        done = subprocess.run([sys.executable, "-c", code, argument], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[-2000:]
        return json.loads(done.stdout.splitlines()[-1])

    engine, loss, weights, warned = run(fault)
    _, expected_loss, expected, _ = run("none", compile="False")
    assert engine.startswith("plain steps: ")
    assert reason in engine
    assert any(reason in message for message in warned)
    assert loss == expected_loss
    assert weights == expected
