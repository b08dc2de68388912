"""Pyro's sums over discrete sites inside `stable_enumeration`, against brute force over all paths, in float64."""

import functools
import itertools
import math
import threading

import pyro
import pyro.distributions as dist
import pyro.infer.traceenum_elbo
import pyro.ops.contract
import pyro.ops.rings
import pyro.poutine as poutine
import pytest
import torch
from pyro.infer import TraceEnum_ELBO, config_enumerate
from pyro.infer.mcmc.util import initialize_model

from pyrometer import stable_enumeration, temper

PROBS = {
    "finite and wrong": torch.tensor([[0.7, 0.3], [0.4, 0.6]], dtype=torch.float64),
    "infinite": torch.tensor([[0.1, 0.9], [0.8, 0.2]], dtype=torch.float64),
}
STOCK = {"finite and wrong": 57.343, "infinite": math.inf}  # what Pyro's own sum gives, in nats
Y = torch.tensor([1.1, -5.1, 2.0, 1.7], dtype=torch.float64)
NOISE = torch.tensor(0.7, dtype=torch.float64)
BETA = 1000.0


def chain(probs, shift=0.0):
    state = torch.tensor(0)
    for t in pyro.markov(range(len(Y))):
        state = pyro.sample(f"state_{t}", dist.Categorical(probs[state]))
        pyro.sample(f"y_{t}", dist.Normal(2.0 * state.double() + shift, NOISE), obs=Y[t])


def path_log_probs(probs, shift=0.0):
    """log p(path, y) of the 16 paths, in their order."""
    paths = torch.tensor(list(itertools.product(range(2), repeat=len(Y))))
    before = torch.cat([torch.zeros(len(paths), 1, dtype=torch.long), paths[:, :-1]], -1)
    return (probs[before, paths].log() + dist.Normal(2.0 * paths.double() + shift, NOISE).log_prob(Y)).sum(-1)


def brute_force(probs, shift=0.0):
    """beta F_beta."""
    return -torch.logsumexp(BETA * path_log_probs(probs, shift), 0)


def nothing() -> None:
    """A guide for programs whose latents are all summed out."""


@pytest.mark.parametrize("case", PROBS)
def test_value_and_gradient_of_an_elbo_are_those_of_the_sum_over_all_paths(case):
    logits, elbo = PROBS[case].log().requires_grad_(), TraceEnum_ELBO(max_plate_nesting=0)
    program = config_enumerate(temper(lambda: chain(logits.softmax(-1)), BETA))
    stock = elbo.loss(program, nothing) / BETA
    assert stock == pytest.approx(STOCK[case], abs=1e-3)  # once Pyro's own is right, all of this can go
    with stable_enumeration():
        loss = elbo.differentiable_loss(program, nothing)
    expected = brute_force(logits.softmax(-1))
    torch.testing.assert_close(loss, expected)
    (gradient,) = torch.autograd.grad(loss, logits)
    torch.testing.assert_close(gradient, torch.autograd.grad(expected, logits)[0])
    assert gradient.abs().max() > 1


@pytest.mark.parametrize("case", PROBS)
def test_the_potential_energy_of_nuts_and_its_gradient_are_those_of_the_sum(case):
    """Tempered, so that minus log N(shift; 0.3, 2) is multiplied as well; a real latent has no Jacobian."""

    def program():
        chain(PROBS[case], pyro.sample("shift", dist.Normal(torch.tensor(0.3).double(), 2.0)))

    shift = torch.tensor(0.4, dtype=torch.float64, requires_grad=True)
    with stable_enumeration():
        _, potential, _, _ = initialize_model(temper(program, BETA), max_plate_nesting=0)
        energy = potential({"shift": shift})
    expected = brute_force(PROBS[case], shift) - BETA * dist.Normal(torch.tensor(0.3).double(), 2.0).log_prob(shift)
    torch.testing.assert_close(energy, expected)
    torch.testing.assert_close(*(torch.autograd.grad(value, shift) for value in (energy, expected)))
    assert not torch.isclose(potential({"shift": shift}), expected)  # Pyro's own, outside the block


def test_factors_in_plates_are_multiplied_over_them():
    """A shared switch and two columns of labels for three data, in float32 and far apart at beta = 1."""
    y = torch.tensor([[40.0, -60.0, 3.0], [80.0, 5.0, -70.0]])

    def program():
        switch = pyro.sample("switch", dist.Bernoulli(0.3))
        with pyro.plate("data", 3):
            pair = pyro.sample("pair", dist.Bernoulli(0.2 + 0.5 * switch))
            with pyro.plate("columns", 2):
                k = pyro.sample("k", dist.Bernoulli(0.1 + 0.6 * pair))
                pyro.sample("y", dist.Normal(30.0 * k - 20.0 * switch, 0.7), obs=y)

    def log_bernoulli(p, value):
        return dist.Bernoulli(torch.tensor(p).double()).log_prob(torch.tensor(float(value)).double())

    def log_sum(terms):
        return torch.logsumexp(torch.stack(list(terms)), 0)

    def log_column(pair, switch):
        likelihood = [dist.Normal(30.0 * k - 20.0 * switch, 0.7).log_prob(y.double()) for k in range(2)]
        return log_sum(log_bernoulli(0.1 + 0.6 * pair, k) + likelihood[k] for k in range(2)).sum(0)

    def log_data(switch):
        return log_sum(log_bernoulli(0.2 + 0.5 * switch, p) + log_column(p, switch) for p in range(2)).sum()

    expected = -log_sum(log_bernoulli(0.3, s) + log_data(s) for s in range(2))
    with stable_enumeration():
        loss = TraceEnum_ELBO(max_plate_nesting=2).loss(config_enumerate(program), nothing)
    assert loss == pytest.approx(expected.item(), rel=1e-6)


def test_pyros_einsum_in_log_space_is_the_sum():
    """The largest of the four paths, by 200 nats, is -900 + 700 = -200 in energy."""
    left, right = torch.tensor([0.0, 900.0]), torch.tensor([0.0, -901.0])
    both = torch.tensor([[0.0, -700.0], [-700.0, 0.0]])
    einsum = functools.partial(pyro.ops.contract.einsum, "a,ab,b->", left, both, right)
    with stable_enumeration():
        assert einsum(backend="pyro.ops.einsum.torch_log")[0] == 200
    assert einsum(backend="pyro.ops.einsum.torch_log")[0] == -math.inf  # Pyro's own


def test_marginals_are_those_of_the_sum():
    program = config_enumerate(lambda: chain(PROBS["infinite"]))
    with stable_enumeration():
        marginals = TraceEnum_ELBO(max_plate_nesting=0).compute_marginals(program, nothing)
    weights = path_log_probs(PROBS["infinite"]).softmax(0)
    states = torch.tensor(list(itertools.product(range(2), repeat=len(Y))))
    for t in range(len(Y)):
        expected = torch.stack([weights[states[:, t] == k].sum() for k in range(2)])
        torch.testing.assert_close(marginals[f"state_{t}"].probs.squeeze(), expected, rtol=1e-6, atol=1e-9)


def test_a_posterior_sample_has_a_path_that_is_possible():
    program = config_enumerate(lambda: chain(PROBS["infinite"]))
    with stable_enumeration(), poutine.trace() as trace:
        TraceEnum_ELBO(max_plate_nesting=0).sample_posterior(program, nothing)
    assert [int(trace.trace.nodes[f"state_{t}"]["value"]) for t in range(2)] == [1, 0]  # each at odds of 10^5 or more


def test_impossible_transitions_have_a_gradient_of_zero():
    """From left to right, so that half of the paths have probability zero; stock sums give the same."""
    logits = torch.tensor([[0.3, -0.4], [-math.inf, 0.0]], dtype=torch.float64, requires_grad=True)
    program = config_enumerate(lambda: chain(logits.softmax(-1)))
    elbo = TraceEnum_ELBO(max_plate_nesting=0)
    stock = elbo.differentiable_loss(program, nothing)
    with stable_enumeration():
        loss = elbo.differentiable_loss(program, nothing)
    torch.testing.assert_close(loss, stock)
    torch.testing.assert_close(*(torch.autograd.grad(value, logits) for value in (loss, stock)))


def test_a_sum_without_a_possible_path_is_infinite():
    def program():
        k = pyro.sample("k", dist.Categorical(logits=torch.tensor([0.0, 1.0])))
        pyro.factor("never", torch.where(k > -1, -math.inf, 0.0))

    with stable_enumeration():
        assert TraceEnum_ELBO(max_plate_nesting=0).loss(config_enumerate(program), nothing) == math.inf


def rings():
    backends = dict(pyro.ops.rings.BACKEND_TO_RING)
    return pyro.infer.traceenum_elbo.SampleRing, pyro.ops.contract.LogRing, backends


def test_pyro_is_put_back_as_it_was_found():
    before = rings()
    with stable_enumeration():
        inside = rings()
        with stable_enumeration():
            assert rings() == inside
        assert rings() == inside
    assert inside != before
    assert rings() == before
    with pytest.raises(RuntimeError), stable_enumeration():
        raise RuntimeError
    assert rings() == before


def test_blocks_may_overlap_in_threads():
    before, first_is_in, second_is_in = rings(), threading.Event(), threading.Event()
    seen = {}

    def first():
        with stable_enumeration():
            first_is_in.set()
            second_is_in.wait(5)

    thread = threading.Thread(target=first)
    thread.start()
    first_is_in.wait(5)
    with stable_enumeration():
        second_is_in.set()
        thread.join(5)
        seen["after the first has left"] = rings()
    assert seen["after the first has left"] != before
    assert rings() == before
