"""What the decomposition of the ELBO refuses: latents whose densities given other data it cannot know."""

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import nn

from pyrometer.guides import DigitAndStyle
from pyrometer.inference.svi import Decomposed
from pyrometer.inference.svi.independent_latents import check_guide_draws, check_independent_latents
from pyrometer.inference.svi.random_state import get_random_state
from pyrometer.models import SemiSupervisedVAE

Y = torch.tensor([0.3, -1.2, 0.8])


def normal(name, loc, scale=0.7):
    return pyro.sample(name, dist.Normal(loc, scale))


def independent(y):
    with pyro.plate("data", len(y)):
        z, k = normal("z", 0.0, 1.6), pyro.sample("k", dist.Bernoulli(0.3))
        pyro.sample("y", dist.Normal(z + k, 0.4), obs=y)


def independent_guide(y):
    with pyro.plate("data", len(y)):
        k = pyro.sample("k", dist.Bernoulli(logits=y))
        normal("z", y - k)


def refused(message, model=independent, guide=independent_guide):
    with pytest.raises(ValueError, match=message):
        Decomposed(10)(model, guide, y=Y)


def test_a_pair_of_independent_latents_is_taken_and_nothing_else_is_changed():
    before = get_random_state()["torch"]
    check_independent_latents(independent, independent_guide, {"y": Y})
    assert torch.equal(before, get_random_state()["torch"])


def test_running_statistics_of_the_programs_are_left_alone():
    model, guide = SemiSupervisedVAE((8, 8), style=2), DigitAndStyle((8, 8), style=2)
    held = {name: buffer.clone() for name, buffer in guide.named_buffers()}
    check_independent_latents(model, guide, {"image": torch.rand(5, 8, 8)})
    assert held
    assert all(torch.equal(held[name], buffer) for name, buffer in guide.named_buffers())


def test_it_is_checked_once_for_each_pair():
    calls = []

    class Guide(nn.Module):
        def forward(self, y):
            calls.append(y)
            independent_guide(y)

    objective, guide = Decomposed(10), Guide()
    objective(independent, guide, y=Y)
    first = len(calls)
    objective(independent, guide, y=Y)
    assert len(calls) == first + 1


def test_a_guide_with_a_continuous_latent_that_others_depend_on_is_refused():
    def chain(y):
        with pyro.plate("data", len(y)):
            z = normal("z", y)
            pyro.sample("k", dist.Bernoulli(logits=z))

    refused(r"guide's site 'k' must not depend.*depends on \['z'\]", guide=chain)


def test_a_prior_that_depends_on_another_latent_is_refused():
    def mixture(y):
        with pyro.plate("data", len(y)):
            k = pyro.sample("k", dist.Bernoulli(0.3))
            z = normal("z", 2.0 * k)
            pyro.sample("y", dist.Normal(z, 0.4), obs=y)

    refused(r"prior of the model's site 'z' must not depend.*\['a discrete site'\]", model=mixture)

    def chain(y):
        with pyro.plate("data", len(y)):
            z = normal("z", 0.0)
            k = pyro.sample("k", dist.Bernoulli(logits=z))
            pyro.sample("y", dist.Normal(k, 0.4), obs=y)

    refused(r"prior of the model's site 'k' must not depend.*\['z'\]", model=chain)


def test_latents_outside_the_data_plate_in_others_or_subsampled_are_refused():
    def outside(y):
        normal("z", 0.0)
        with pyro.plate("data", len(y)):
            pyro.sample("k", dist.Bernoulli(logits=y))

    refused(r"site 'z' of the guide must be in the data plate and in no other, but is in \[\]", guide=outside)

    def nested(y):
        with pyro.plate("data", len(y)):
            pyro.sample("k", dist.Bernoulli(logits=y))
            with pyro.plate("more", 2):
                normal("z", 0.0)

    refused(r"'z' of the guide must be in the data plate.*\['data', 'more'\]", guide=nested)

    def subsampled(y):
        with pyro.plate("data", 30, subsample_size=len(y)):
            pyro.sample("k", dist.Bernoulli(logits=y))
            normal("z", y)

    refused("'k' of the guide must be neither scaled", guide=subsampled)

    def shared(y):
        width = pyro.factor("width", torch.tensor(0.4))
        independent(y)
        return width

    refused("site 'width' of the model must be in the data plate", model=shared)


def test_draws_that_can_be_neither_differentiated_nor_enumerated_are_refused():
    def counts(y):
        with pyro.plate("data", len(y)):
            pyro.sample("k", dist.Poisson(2.0 + 0 * y))

    refused("'k', Poisson, must have a reparameterised draw or values to enumerate", guide=counts)

    def vector(y):
        with pyro.plate("data", len(y)):
            pyro.sample("k", dist.Bernoulli(torch.full((3,), 0.3)).to_event(1))

    refused("discrete site 'k' must not be a vector", guide=vector)


def test_a_guide_without_latents_or_with_others_than_the_model_is_refused():
    with pytest.raises(ValueError, match="no latent site"):
        check_guide_draws(lambda: None, {})

    def other(y):
        with pyro.plate("data", len(y)):
            normal("pen", y)

    refused(r"the model has \['k', 'z'\] and the guide \['pen'\]", guide=other)
