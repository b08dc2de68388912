"""Simulated data reach a program through the arguments that it observes, and only through these."""

import pyro
import pyro.distributions as dist
import pyro.poutine as poutine
import pytest
import torch

from pyrometer import EnergyView
from pyrometer.inference.energy.simulated_data import Simulator

Y = torch.tensor([0.3, -0.1, 1.2])
PRIOR_SCALE, NOISE = 2.0, 0.5


def local(y):
    with pyro.plate("data", len(y)):
        z = pyro.sample("z", dist.Normal(0.0, PRIOR_SCALE))
        pyro.sample("y", dist.Normal(z, NOISE), obs=y)
    pyro.deterministic("twice", 2 * z)


def simulator(model, *args, **kwargs):
    return Simulator(EnergyView(model).bind(*args, **kwargs).program)


def bound(model, *args, **kwargs):
    """The program bound to data that it has simulated."""
    made = simulator(model, *args, **kwargs)
    return made.bind(made.draw())


def test_the_data_are_drawn_at_the_latents():
    simulations = simulator(local, Y)
    draws = [simulations.draw() for _ in range(400)]
    z = torch.stack([draw.latents["z"] for draw in draws])
    noise = torch.stack([draw.data["y"] for draw in draws]) - z
    assert abs(z.std() / PRIOR_SCALE - 1) < 4.3 / 2400**0.5
    assert abs(noise.std() / NOISE - 1) < 4.3 / 2400**0.5
    assert abs(torch.corrcoef(torch.stack([z.flatten(), noise.flatten()]))[0, 1]) < 4.3 / 1200**0.5


@pytest.mark.parametrize("second", [Y, torch.stack([Y, Y], -1)[:, 0]], ids=["contiguous", "strided"])
def test_an_argument_is_found_by_identity_before_another_that_equals_it(second):
    def model(first, second):
        with pyro.plate("data", len(second)):
            z = pyro.sample("z", dist.Normal(first, PRIOR_SCALE))
            pyro.sample("y", dist.Normal(z, NOISE), obs=second)

    args = bound(model, Y.clone(), second).args
    assert torch.equal(args[0], Y)
    assert not torch.equal(args[1], Y)


def test_an_argument_that_is_reshaped_and_converted_is_found_by_its_elements():
    def model(image):
        flat = image.reshape(len(image), -1).double()
        with pyro.plate("data", len(image)):
            z = pyro.sample("z", dist.Beta(2.0, 3.0))
            pyro.sample("pixels", dist.Bernoulli(z.unsqueeze(-1).expand(-1, 6)).to_event(1), obs=flat)

    image = torch.arange(24).reshape(4, 2, 3) % 2
    drawn = bound(model, image=image)
    new = drawn.kwargs["image"]
    assert (new.shape, new.dtype) == (image.shape, image.dtype)
    assert torch.equal(drawn.structure.observed["pixels"], new.reshape(4, 6).double())


def test_an_argument_is_found_inside_dicts_and_lists():
    def model(batch, more):
        local(batch["y"])
        with pyro.plate("more", 2):
            pyro.sample("count", dist.Poisson(3.5), obs=more[1][0])

    drawn = bound(model, {"y": Y, "size": 3}, [7, (torch.tensor([4.0, 1.0]),)])
    batch, more = drawn.args
    assert (batch["size"], more[0]) == (3, 7)
    assert torch.equal(drawn.structure.observed["y"], batch["y"])
    assert torch.equal(drawn.structure.observed["count"], more[1][0])
    assert not torch.equal(batch["y"], Y)


def test_among_equal_arguments_that_named_as_the_site_is_taken():
    def model(x, y):
        with pyro.plate("data", len(y)):
            pyro.sample("z", dist.Normal(x, PRIOR_SCALE))
            pyro.sample("y", dist.Normal(0.0, NOISE), obs=1.0 * y)

    args = bound(model, torch.zeros(3), torch.zeros(3)).args
    assert torch.equal(args[0], torch.zeros(3))
    assert not torch.equal(args[1], torch.zeros(3))


def test_slices_of_an_argument_are_replaced_one_by_one_and_the_rest_of_it_stays():
    def model(table):
        for step in range(2):
            with pyro.plate(f"data{step}", 3):
                z = pyro.sample(f"z{step}", dist.Normal(0.0, PRIOR_SCALE))
                pyro.sample(f"y{step}", dist.Normal(z, NOISE), obs=table[1:, 2 * step])

    table = torch.arange(12.0).reshape(4, 3)
    drawn = bound(model, table)
    new = drawn.args[0]
    for step in range(2):
        assert torch.equal(drawn.structure.observed[f"y{step}"], new[1:, 2 * step])
        assert not torch.isclose(new[1:, 2 * step], table[1:, 2 * step]).any()
    assert torch.equal(new[0], table[0])
    assert torch.equal(new[:, 1], table[:, 1])
    assert table.sum() == 66.0


def test_an_argument_keeps_what_a_mask_leaves_out_be_it_nan():
    def model(y):
        with pyro.plate("data", 3):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), PRIOR_SCALE).to_event(1))
            with poutine.mask(mask=~y.isnan().any(-1)):
                pyro.sample("y", dist.Normal(z, NOISE).to_event(1), obs=y.nan_to_num(nan=7.0))

    y = torch.tensor([[7.0, 8.0], [torch.nan, torch.nan], [9.0, 10.0]])
    new = bound(model, y).args[0]
    assert new[1].isnan().all()
    assert not torch.isclose(new[[0, 2]], y[[0, 2]]).any()


def test_a_deterministic_site_is_no_data():
    assert simulator(local, Y).sites == ["y"]


def test_equal_arguments_without_the_sites_name_are_refused_by_their_names():
    def model(first, second):
        with pyro.plate("data", 3):
            z = pyro.sample("z", dist.Normal(second, PRIOR_SCALE))
            pyro.sample("y", dist.Normal(z, NOISE), obs=1.0 * first)

    with pytest.raises(ValueError, match=r"\['first', 'second'\] all equal the data of the observed site 'y'"):
        simulator(model, torch.zeros(3), torch.zeros(3))


def test_data_that_are_no_argument_are_refused_by_the_sites_name():
    with pytest.raises(ValueError, match="data of the observed site 'y' are no argument of the program"):
        simulator(lambda: local(Y))


def test_data_that_are_computed_from_an_argument_are_refused_by_the_sites_name():
    def model(y):
        local(y.exp())

    with pytest.raises(ValueError, match="observed site 'y' does not take its values from an argument as they are"):
        bound(model, Y)


def test_data_wider_than_what_is_simulated_are_refused_with_both_shapes():
    def model(y):
        z = pyro.sample("z", dist.Normal(0.0, PRIOR_SCALE))
        pyro.sample("y", dist.Normal(z, NOISE), obs=y)

    with pyro.validation_enabled(False), pytest.raises(ValueError, match=r"shape \(\), and its data have \(3,\)"):
        bound(model, Y)


def test_a_program_without_data_is_refused():
    with pytest.raises(ValueError, match=r"observes nothing: its sites \['z'\]"):
        simulator(lambda: pyro.sample("z", dist.Normal(0.0, 1.0)))


def test_a_factor_is_refused_by_name():
    def model(y):
        local(y)
        pyro.factor("bump", torch.tensor(0.3))

    with pytest.raises(ValueError, match=r"sites \['bump'\] are factors"):
        simulator(model, Y)


def test_a_scaled_site_is_refused_by_name():
    def model(y):
        with poutine.scale(scale=0.5):
            local(y)

    with pytest.raises(ValueError, match=r"sites \['z', 'y'\] are scaled"):
        simulator(model, Y).draw()


def test_a_shared_latent_with_a_subsample_of_the_data_is_refused():
    def model(y):
        mu = pyro.sample("mu", dist.Normal(0.0, PRIOR_SCALE))
        with pyro.plate("data", 30, subsample_size=3):
            pyro.sample("y", dist.Normal(mu, NOISE), obs=y)

    with pytest.raises(ValueError, match=r"'data' is subsampled, and the latents \['mu'\] lie outside"):
        simulator(model, Y)


def test_a_subsample_of_independent_data_keeps_its_indices():
    def model(y):
        with pyro.plate("data", 10_000, subsample_size=3) as index:
            z = pyro.sample("z", dist.Normal(index.float(), 1e-3))
            pyro.sample("y", dist.Normal(z, 1e-3), obs=y)

    simulations = simulator(model, Y)
    drawn = simulations.draw()
    index = simulations.program.structure.subsamples["data"]
    assert torch.equal(simulations.bind(drawn).structure.subsamples["data"], index)
    assert torch.equal(drawn.latents["z"].round(), index.float())
