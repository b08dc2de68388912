"""A program that reads a value is refused in one sentence, with its own line, what it read, and what to write."""

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import nn
from torch.nn.functional import one_hot

from pyrometer.inference.svi.compiled.capture import capture
from pyrometer.inference.svi.compiled.traceable import NotTraceable

CHOOSE, KEEP, PRINT = "choose by torch.where", "keep it a tensor", "print from on_epoch"
READS = {
    "if": (lambda y: 1.0 if y.sum() > 0 else 2.0, "__bool__", CHOOSE),
    "max": (lambda y: max(y[0], y[1]), "__bool__", CHOOSE),
    "torch.equal": (lambda y: float(torch.equal(y, 2 * y)), "equal", CHOOSE),
    "torch.allclose": (lambda y: float(torch.allclose(y, 2 * y)), "allclose", CHOOSE),
    "an integer item": (lambda y: 0.1 * (y > 0).sum().item(), "item", KEEP),
    "range": (lambda y: 0.1 * len(range((y > 0).sum())), "__index__", KEEP),
    "a slice": (lambda y: y[: (y > 0).sum()].sum(), "as a size, an index or a number", KEEP),
    "in": (lambda y: float(2 in y), "as a size, an index or a number", KEEP),
    "print": (lambda y: print(y) or 0.0, "__repr__", PRINT),
    "an f-string": (lambda y: float(len(f"{y.sum():.2f}")), "__format__", PRINT),
    "one_hot without classes": (lambda y: one_hot((y > 0).long()).sum(), "one_hot", "give it num_classes"),
}


def program_of(read):
    def program(y):
        z = pyro.sample("z", dist.Normal(0.0, 2.0))
        pyro.sample("y", dist.Normal(z + read(y), 0.7).expand([len(y)]).to_event(1), obs=y)

    return program


@pytest.mark.parametrize("name", READS)
def test_a_read_is_refused_with_its_line_and_a_remedy(name, plain, batch):
    read, by, remedy = READS[name]
    with pytest.raises(NotTraceable) as caught:
        capture(plain(program_of(read)).pair, batch, {})
    said = str(caught.value)
    line = read.__code__.co_firstlineno
    assert said.startswith(f"test_value_reads.py:{line} reads the value of a tensor ({'' if ' ' in by else 'by '}{by}")
    assert remedy in said
    assert "\n" not in said


def test_the_line_is_that_inside_a_module_of_the_users_own(plain, batch):
    class Network(nn.Module):
        def forward(self, y):
            return y if y.sum() > 0 else -y

    with pytest.raises(
        NotTraceable, match=rf"^test_value_reads.py:{Network.forward.__code__.co_firstlineno + 1} reads"
    ):
        capture(plain(program_of(Network())).pair, batch, {})


def test_what_fails_while_it_is_traced_is_named_too(plain, batch):
    calls = []

    def fails(y):
        calls.append(y)
        return {}["no such thing"]

    line = fails.__code__.co_firstlineno + 2
    with pytest.raises(NotTraceable, match=rf"^test_value_reads.py:{line} cannot be followed by a trace \(KeyError: "):
        capture(plain(program_of(fails)).pair, batch, {})
