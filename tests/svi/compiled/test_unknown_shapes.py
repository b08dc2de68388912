"""Results as large as values say are refused with the user's line and a remedy; constant masks are not."""

import pyro
import pyro.distributions as dist
import pytest
import torch

from pyrometer.inference.svi.compiled.build import as_graph
from pyrometer.inference.svi.compiled.traceable import NotTraceable

ORDERED = torch.tensor([2, 1, 1, 1, 1])
SHAPES = {
    "x[mask]": (lambda y: y[y > 0].sum(), "a mask in []", "torch.where(mask, x, 0.0)"),
    "masked_select": (lambda y: torch.masked_select(y, y > 0).sum(), "masked_select", "torch.where(mask, x, 0.0)"),
    "nonzero": (lambda y: (y > 0).nonzero().float().mean(), "nonzero", "results of a fixed shape"),
    "where": (lambda y: torch.where(y > 0)[0].float().mean(), "nonzero", "results of a fixed shape"),
    "unique": (lambda y: torch.unique(y).sum(), "unique", "results of a fixed shape"),
    "bincount": (lambda y: torch.bincount((y > 0).long(), minlength=2)[0] * 0.1, "bincount", "one_hot"),
    "repeats": (lambda y: torch.repeat_interleave(y, (y > 0).long()).sum(), "repeat_interleave", "index by places"),
    "packed": (
        lambda y: torch.nn.utils.rnn.pack_padded_sequence(y.expand(5, 5), ORDERED, batch_first=True).data.sum(),
        "pack_padded_sequence",
        "padded sequences",
    ),
}


def program_of(function):
    def program(y):
        z = pyro.sample("z", dist.Normal(0.0, 2.0))
        pyro.sample("y", dist.Normal(z + function(y), 0.7).expand([len(y)]).to_event(1), obs=y)

    return program


@pytest.mark.parametrize("name", SHAPES)
def test_such_a_shape_is_refused_with_its_line_and_a_remedy(name, plain, batch):
    function, by, remedy = SHAPES[name]
    with pytest.raises(NotTraceable) as caught:
        as_graph(plain(program_of(function)).pair, batch, {})
    said = str(caught.value)
    assert said.startswith(f"test_unknown_shapes.py:{function.__code__.co_firstlineno} makes a tensor whose shape")
    assert f"(by {by}" in said
    assert remedy in said


def test_a_mask_that_is_always_the_same_and_an_assignment_of_a_number_are_not_refused(plain, batch):
    def function(y):
        chosen = torch.zeros_like(y)
        chosen[y > 0.5] = 1.0
        return chosen + y[torch.arange(5) > 2].sum()

    assert as_graph(plain(program_of(function)).pair, batch, {})
