"""Sums into places of a tensor that the compiler is kept from, against plain torch; compiled ones in processes of their
own, which a sum that is compiled wrongly would end.

`python -m benchmarks.accumulations` does the same with every operation of this kind, each alone.
"""

import pytest
import torch
import torch.nn.functional as F
from torch._inductor import config
from torch._inductor.custom_graph_pass import CustomGraphPass
from torch._inductor.decomposition import select_decomp_table
from torch.fx.experimental.proxy_tensor import make_fx

from pyrometer.benchmarks.accumulations import found_apart, has_width
from pyrometer.inference.compiler.accumulations import compiler_options, leave_to_torch
from pyrometer.inference.energy import compiled as energy_compiled
from pyrometer.inference.svi.compiled import build

PROGRAMS = ["weight[k]", "index_put of transposed values", "in a loop", "embedding, padding", "gather"]
"""Of every way to a sum, one; the other programs of the benchmark have the same operations in their graphs."""


def rewrite(module):
    count = leave_to_torch(module.graph)
    module.recompile()
    return count


def as_compiler_has_it(function, *inputs):
    return make_fx(function, decomposition_table=select_decomp_table())(*inputs)


def gradient(function):
    def of(weight, *others):
        leaf = weight.detach().requires_grad_()
        return torch.autograd.grad(function(leaf, *others).sin().sum(), leaf)[0]

    return of


@pytest.mark.parametrize(
    "function",
    [
        lambda w, k: w[k],
        lambda w, k: w[:, :, k],
        lambda w, k: w[k, :, k],
        lambda w, k: w.index_select(1, k),
        lambda w, k: torch.take(w, k),
        lambda w, k: F.embedding(k, w[0], padding_idx=1),
        lambda w, k: F.embedding(k, w[0], scale_grad_by_freq=True),
        lambda w, k: w.unfold(1, 3, 1) * k.sum(),
        lambda w, k: F.fold(w[:, :, :2], (2, 3), 2) * k.sum(),
    ],
)
def test_torch_takes_the_sum_in_a_gradient(graphs, function):
    weight, places = torch.randn(4, 4, 4), torch.tensor([0, 3, 3, 1])
    graph = as_compiler_has_it(gradient(function), weight, places)
    assert graphs.rewritten(graph, rewrite, weight, places) > 0
    assert "pyrometer.accumulated.default" in graphs.targets(graph)
    assert not any("index_put" in name for name in graphs.targets(graph))


def test_places_that_are_not_under_the_mask_may_be_anywhere(graphs):
    operation = torch.ops.aten._unsafe_masked_index_put_accumulate.default
    places, mask = torch.tensor([0, 9, -20, 2, -1]), torch.tensor([True, False, False, True, True])
    inputs = torch.randn(4, 3), mask[:, None], places, torch.randn(5, 3)
    graph = graphs.of(lambda into, mask, places, values: operation(into, mask, [places], values), *inputs)
    assert graphs.rewritten(graph, rewrite, *inputs) == 1
    assert "pyrometer.accumulated.default" in graphs.targets(graph)


def test_an_assignment_stays_the_compilers(graphs):
    weight, places = torch.randn(4, 3), torch.tensor([2, 0])
    graph = graphs.of(lambda w, k: torch.index_put(w, [k], w[:2], accumulate=False), weight, places)
    assert graphs.rewritten(graph, rewrite, weight, places) == 0


def test_what_is_not_on_the_cpu_stays_the_compilers():
    graph = make_fx(lambda w, k: torch.index_put(w, [k], w, True))(torch.randn(2, 3), torch.tensor([0, 0]))
    for node in graph.graph.nodes:
        node.meta["val"] = torch.empty(2, 3, device="meta")
    assert leave_to_torch(graph.graph) == 0


def test_a_pass_that_somebody_else_has_set_is_kept():
    class Other(CustomGraphPass):
        def __call__(self, graph):
            pass

        def uuid(self):
            return "other"

    (own,) = compiler_options()["post_grad_custom_post_pass"]
    other = Other()
    with config.patch(post_grad_custom_post_pass=other):
        assert compiler_options()["post_grad_custom_post_pass"] == [other, own]
    with config.patch(compiler_options()):
        assert compiler_options()["post_grad_custom_post_pass"] == [own]


def test_compiled_code_on_disk_is_known_by_the_pass():
    """Without a name torch would keep none of it."""
    (own,) = compiler_options()["post_grad_custom_post_pass"]
    assert isinstance(own, CustomGraphPass)
    assert own.uuid() == own.uuid() != b""


def test_steps_are_compiled_with_it(monkeypatch):
    seen = []
    monkeypatch.setattr(torch._inductor, "compile", lambda graph, _inputs, options: seen.append(options) or graph)
    build._compiler({"cpp_wrapper": True})(lambda x: [x + 1], [torch.ones(2)])
    assert seen[0]["cpp_wrapper"]
    assert {name: seen[0][name] for name in compiler_options()} == compiler_options()


def test_paths_are_compiled_with_it(monkeypatch):
    seen = []
    monkeypatch.setattr(torch._inductor, "compile", lambda graph, _inputs, options: seen.append(options) or graph)
    energy_compiled.compiled(lambda u: (-u.square().sum(-1), -(u - 1).square().sum(-1)), torch.randn(3, 2, 4))
    assert {name: seen[0][name] for name in compiler_options()} == compiler_options()


@pytest.mark.usefixtures("compiler")
@pytest.mark.parametrize("width", [256, 512])
def test_with_two_threads_compiled_sums_are_those_of_torch_and_none_is_atomic(width):
    if not has_width(width):
        pytest.skip(f"the machine has no vectors of {width} bits")
    found = found_apart(PROGRAMS, width)
    assert not found.failure
    assert found.wrong == []
    assert found.atomics == 0
    assert found.left >= len(PROGRAMS) - 1  # of a gather's gradient the compiler calls torch for itself
