"""Warnings point at the line of the user's that has called, however deep in the package something was found."""

import warnings

import pyro
import pyro.distributions as dist
import torch
from pyro.infer.autoguide import AutoNormal

from pyrometer import EnergyView, fit
from pyrometer.inference.energy.user_code import is_user_module


def branching(y):
    z = pyro.sample("z", dist.Normal(0.0, 2.0))
    with pyro.plate("data", len(y)):
        pyro.sample("y", dist.Normal(z, 0.7 if z > 0 else 1.4), obs=y)


def warned(call):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        call()
    return caught


def test_a_training_warns_at_the_callers_line():
    def train():
        fit(branching, AutoNormal(branching), {"y": torch.ones(3)}, steps=2, compile=True, seed=0, progress=False)

    (warning,) = warned(train)
    assert warning.filename == __file__
    assert warning.lineno == train.__code__.co_firstlineno + 1


def test_a_view_warns_at_the_callers_line():
    def program(y):
        mask = torch.ones(3, dtype=torch.bool)
        with pyro.plate("data", 3), pyro.poutine.mask(mask=mask):
            pyro.sample("y", dist.Normal(0.0, 1.0), obs=y)
        mask &= y > 0

    (warning,) = warned(lambda: EnergyView(program).bind(torch.ones(3) * -1))
    assert "the mask of site 'y' is changed" in str(warning.message)
    assert warning.filename == __file__


def test_programs_of_the_package_count_as_a_users():
    assert is_user_module("pyrometer.models.vae")
    assert not is_user_module("pyrometer.inference.svi.fit")
    assert not is_user_module("pyro.poutine.handlers")
    assert is_user_module("pyrology")
