"""Where linear algebra raises an error, a graph of it gives NaN, for the matrix that failed and no other."""

import pytest
import torch

from pyrometer.inference.svi.compiled.checks import check_by_nan

GOOD, BAD = torch.tensor([[2.0, 0.3], [0.3, 1.5]]), torch.tensor([[1.0, 3.0], [3.0, 1.0]])


@pytest.mark.parametrize("function", [torch.linalg.cholesky, torch.linalg.inv], ids=["cholesky", "inverse"])
def test_a_factorisation_that_works_is_as_it_was(graphs, function):
    graph = graphs.of(lambda x: function(x) * 3, GOOD)
    assert graphs.rewritten(graph, check_by_nan, GOOD) == 1
    assert "_linalg_check_errors.default" not in graphs.targets(graph)


def test_of_several_matrices_the_one_that_fails_is_nan(graphs):
    both = torch.stack([GOOD, GOOD])
    graph = graphs.of(lambda x: torch.linalg.cholesky(x) * 3, both)
    check_by_nan(graph)
    found = graph(torch.stack([GOOD, BAD]))
    torch.testing.assert_close(found[0], 3 * torch.linalg.cholesky(GOOD))
    assert found[1].isnan().all()


def test_an_inverse_of_a_singular_matrix_is_nan(graphs):
    graph = graphs.of(torch.linalg.inv, GOOD)
    check_by_nan(graph)
    assert graph(torch.ones(2, 2)).isnan().all()
