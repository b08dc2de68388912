"""Draws from Python's and numpy's generators are refused with their line, and the generators stay as they were."""

import random

import numpy as np
import pyro
import pyro.distributions as dist
import pytest

from pyrometer.inference.svi.compiled.capture import capture
from pyrometer.inference.svi.compiled.traceable import NotTraceable

OWN = np.random.default_rng(3)
ALSO = random.Random(4)
DRAWS = {
    "random": (lambda: random.random(), "Python's random"),
    "numpy": (lambda: float(np.random.rand()), "numpy"),  # noqa: NPY002
    "a generator of numpy": (lambda: float(OWN.normal()), "numpy"),
    "a generator of Python": (lambda: ALSO.gauss(0.0, 1.0), "Python's random"),
}


def program_of(draw):
    def program(y):
        z = pyro.sample("z", dist.Normal(0.0, 2.0))
        pyro.sample("y", dist.Normal(z + draw(), 0.7).expand([len(y)]).to_event(1), obs=y)

    return program


@pytest.mark.parametrize("name", DRAWS)
def test_a_draw_is_refused_with_its_line(name, plain, batch):
    draw, whose = DRAWS[name]
    line = draw.__code__.co_firstlineno
    with pytest.raises(NotTraceable, match=rf"^test_outside_noise.py:{line} draws from {whose}, of which a graph"):
        capture(plain(program_of(draw)).pair, batch, {})


def test_a_generator_that_nobody_draws_from_is_no_obstacle(plain, batch):
    assert capture(plain(program_of(lambda: OWN.bit_generator.state["has_uint32"])).pair, batch, {}).leaves
