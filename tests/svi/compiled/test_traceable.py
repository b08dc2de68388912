"""What is traced, and what is refused because Python looked at a value."""

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch.fx.experimental.proxy_tensor import make_fx

from pyrometer.inference.svi.compiled.capture import capture
from pyrometer.inference.svi.compiled.traceable import NotTraceable, traceable

LOOKS = {
    "bool": lambda x: 1.0 if x.sum() > 0 else 2.0,
    "int": lambda x: int(x.sum()),
    "float": lambda x: float(x.sum()),
    "integer item": lambda x: (x > 0).sum().item(),
    "tolist": lambda x: x.tolist()[0],
    "numpy": lambda x: float(x.detach().numpy()[0]),
    "index": lambda x: [1.0, 2.0, 3.0, 4.0, 5.0, 6.0][(x > 0).sum()],
}


@pytest.mark.parametrize("look", LOOKS)
def test_a_program_that_looks_at_its_data_is_refused(look, plain, batch):
    def program(y):
        z = pyro.sample("z", dist.Normal(0.0, 2.0))
        pyro.sample("y", dist.Normal(z, 0.7).expand([len(y)]).to_event(1), obs=y)
        pyro.factor("looked", torch.tensor(LOOKS[look](y)))

    with pytest.raises(NotTraceable, match="reads the value of a tensor"):
        capture(plain(program).pair, batch, {})


def test_a_program_that_looks_at_what_it_drew_is_refused(plain, batch):
    def program(y):
        z = pyro.sample("z", dist.Normal(0.0, 2.0))
        scale = 0.5 if z > 0 else 1.5
        pyro.sample("y", dist.Normal(z, scale).expand([len(y)]).to_event(1), obs=y)

    with pytest.raises(NotTraceable, match="__bool__"):
        capture(plain(program).pair, batch, {})


def test_looks_at_constants_of_the_source_are_no_obstacle(plain, batch):
    def program(y):
        scale = 0.7 if torch.tensor(3.0) > 2 else 5.0
        z = pyro.sample("z", dist.Normal(0.0, torch.tensor(2.0).item()))
        pyro.sample("y", dist.Normal(z, scale).expand([len(y)]).to_event(1), obs=y)

    assert capture(plain(program).pair, batch, {}).leaves


def test_distributions_that_were_made_while_validation_was_on_are_no_obstacle(plain, batch):
    """As the prior of a PyroSample is, at the head of a class; against its plain loss."""
    prior = dist.Normal(torch.zeros(()), 2.0, validate_args=True)

    def program(y):
        z = pyro.sample("z", prior)
        pyro.sample("y", dist.Normal(z, 0.7, validate_args=True).expand([len(y)]).to_event(1), obs=y)

    pair = plain(program).pair
    captured = capture(pair, batch, {})
    torch.manual_seed(5)
    loss = captured.graph(*captured.leaves, *captured.constants, batch["y"])[0]
    torch.manual_seed(5)
    torch.testing.assert_close(loss, pair(batch, {}).detach())


def test_a_float_taken_out_stays_a_tensor():
    """``.item()`` is what Pyro's own losses end with."""
    with traceable():
        graph = make_fx(lambda x: (x.sum().item() * 2).reshape(()))(torch.ones(3))
    assert graph(torch.arange(3.0)).item() == 6.0


def test_validation_and_the_checks_of_pyro_are_back_after_the_block():
    from pyro.infer import trace_elbo
    from pyro.infer.util import Dice

    before = trace_elbo.warn_if_nan, Dice.compute_expectation, pyro.settings.get("validate_distributions_pyro")
    with pytest.raises(NotTraceable), traceable():
        raise NotTraceable("inside")
    assert (
        trace_elbo.warn_if_nan,
        Dice.compute_expectation,
        pyro.settings.get("validate_distributions_pyro"),
    ) == before
