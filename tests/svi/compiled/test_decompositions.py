"""Inner products and short cumulated sums and products, written out: against torch's own."""

import pytest
import torch

from pyrometer.inference.svi.compiled.decompositions import LONGEST, decompose

X = torch.linspace(-1.0, 2.0, 12).reshape(3, 4)


@pytest.mark.parametrize(
    ("function", "gone"),
    [
        (lambda x: x[0] @ x[1], "dot.default"),
        (lambda x: x.cumsum(0), "cumsum.default"),
        (lambda x: x.cumsum(-1), "cumsum.default"),
        (lambda x: (x > 0).cumsum(1), "cumsum.default"),
        (lambda x: x.cumprod(1), "cumprod.default"),
    ],
    ids=["inner product", "sum, first axis", "sum, last axis", "sum of truth values", "product"],
)
def test_written_out_they_are_the_same(graphs, function, gone):
    graph = graphs.of(function, X)
    assert gone in graphs.targets(graph)
    assert decompose(graph) == 1
    assert gone not in graphs.targets(graph)
    torch.testing.assert_close(graph(X), function(X), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("size", [0, LONGEST + 1])
def test_an_axis_that_is_long_or_empty_is_left(graphs, size):
    assert decompose(graphs.of(lambda x: x.cumsum(0), torch.ones(size))) == 0
