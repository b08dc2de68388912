"""Sums over discrete latents inside a density of continuous ones: vmap, gradients, Jacobians, masks and scales."""

import itertools
import math

import pyro
import pyro.distributions as dist
import pyro.poutine as poutine
import pytest
import torch
from torch.func import grad, vmap

from pyrometer import EnergyView
from pyrometer.inference.energy.enumeration import NotEnumerable, check_enumeration, enumerated_trace, log_partition

Y = torch.tensor([0.3, -1.1, 4.0, 2.2], dtype=torch.float64)
ZERO = torch.tensor(0.0).double()


def mixture(y):
    weights = pyro.sample("weights", dist.Dirichlet(torch.tensor([2.0, 1.0, 3.0]).double()))
    scale = pyro.sample("scale", dist.LogNormal(ZERO, 0.7))
    with pyro.plate("data", len(y)), poutine.scale(scale=0.4), poutine.mask(mask=torch.tensor([1, 1, 0, 1]).bool()):
        k = pyro.sample("k", dist.Categorical(weights))
        shift = pyro.sample("shift", dist.Uniform(-ZERO - 1, 2.0))
        pyro.sample("y", dist.Normal(k + shift, scale), obs=y)


def chain(y):
    rows = pyro.sample("rows", dist.Dirichlet(torch.eye(2).double() + 0.5).to_event(1))
    means = pyro.sample("means", dist.Normal(ZERO, 3.0).expand([2]).to_event(1))
    state = torch.tensor(0)
    for t in pyro.markov(range(len(y))):
        state = pyro.sample(f"state_{t}", dist.Categorical(rows[state]))
        pyro.sample(f"y_{t}", dist.Normal(means[state], 0.5), obs=y[t])


SHAPES = {mixture: {"weights": (2,), "scale": (), "shift": (4,)}, chain: {"rows": (2, 1), "means": (2,)}}


def coordinates(program, *draws):
    return {name: torch.randn((*draws, *shape)).double() for name, shape in SHAPES[program].items()}


def log_sum(view, u, beta=0.7, base="prior", maximum=False):
    trace = enumerated_trace(view.program, {}, u)
    per_datum, common = log_partition(trace, view.structure, beta, base, maximum)
    return common if per_datum is None else common + per_datum.sum(-1)


@pytest.mark.parametrize("base", ["lebesgue", "prior"])
@pytest.mark.parametrize("program", [mixture, chain])
def test_vmap_over_draws_is_draw_by_draw_with_its_gradients(program, base):
    view, u = EnergyView(program).bind(Y), coordinates(program, 5)
    together, gradient = vmap(lambda v: (log_sum(view, v, base=base), grad(lambda w: log_sum(view, w, base=base))(v)))(
        u
    )
    ladder = vmap(lambda v: log_sum(view, v, torch.tensor([0.0, 0.7]).double(), base))(u)
    best = vmap(lambda v: log_sum(view, v, maximum=True))(u)
    for i in range(5):
        one = {name: value[i].clone().requires_grad_() for name, value in u.items()}
        alone = log_sum(view, one, base=base)
        torch.testing.assert_close(together[i], alone)
        torch.testing.assert_close(ladder[i, 1], alone)
        torch.testing.assert_close(best[i], log_sum(view, one, maximum=True))
        slopes = torch.autograd.grad(alone, list(one.values()))
        for name, slope in zip(one, slopes, strict=True):
            torch.testing.assert_close(gradient[name][i], slope)
    assert torch.autograd.gradcheck(
        lambda *v: log_sum(view, dict(zip(u, v, strict=True)), base=base), list(one.values())
    )


@pytest.mark.parametrize("beta", [0.0, 0.7, 1.0, 3.0])
@pytest.mark.parametrize("base", ["lebesgue", "prior"])
def test_the_mixtures_sum_is_that_of_its_densities_written_out(base, beta):
    """By hand: the transforms, the log-densities, the scale 0.4, the mask, and the sum over k."""
    view, u = EnergyView(mixture).bind(Y), coordinates(mixture)
    value, log_jacobian = {}, {}
    for name, support in (
        ("weights", dist.constraints.simplex),
        ("scale", dist.constraints.positive),
        ("shift", dist.constraints.interval(-1.0, 2.0)),
    ):
        transform = torch.distributions.biject_to(support)
        value[name] = transform(u[name])
        log_jacobian[name] = transform.log_abs_det_jacobian(u[name], value[name])
    weights, scale, shift = value["weights"], value["scale"], value["shift"]
    shared = dist.Dirichlet(torch.tensor([2.0, 1.0, 3.0]).double()).log_prob(weights)
    shared = shared + dist.LogNormal(ZERO, 0.7).log_prob(scale)
    log_k, log_shift = weights.log(), -math.log(3.0)
    log_y = dist.Normal(torch.arange(3) + shift[:, None], scale).log_prob(Y[:, None])
    if base == "lebesgue":
        total = beta * shared
        tempered = beta * 0.4 * (log_k + log_shift + log_y)
    else:
        total = shared
        tempered = (1 - 0.6 * beta) * (log_k + log_shift) + 0.4 * beta * log_y
    on = torch.tensor([1, 1, 0, 1]).bool()
    by_datum = torch.where(on, tempered.logsumexp(-1), log_shift)
    total = total + by_datum.sum() + sum(part.sum() for part in log_jacobian.values())
    torch.testing.assert_close(log_sum(view, u, beta, base), total)


def test_a_uniform_base_divides_by_the_size_of_every_support():
    def model(y):
        with pyro.plate("data", len(y)):
            k = pyro.sample("k", dist.Categorical(torch.tensor([0.2, 0.3, 0.5]).double()))
            shift = pyro.sample("shift", dist.Uniform(-ZERO - 1, 2.0))
            pyro.sample("y", dist.Normal(k + shift, 0.7), obs=y)

    view, u = EnergyView(model).bind(Y), {"shift": torch.randn(4).double()}
    counting, uniform = (log_sum(view, u, 2.0, base) for base in ("lebesgue", "uniform"))
    torch.testing.assert_close(counting - uniform, torch.tensor(4 * math.log(9.0)).double(), rtol=0, atol=1e-6)


def test_a_given_latent_is_data_and_a_coordinate_is_integrated():
    """The same value twice: they differ by the Jacobian, and with the prior as base by its temperature."""
    view, u = EnergyView(chain).bind(Y), coordinates(chain)
    means = {"means": u["means"]}
    rows = torch.distributions.biject_to(dist.constraints.simplex)(u["rows"])
    jacobian = torch.distributions.biject_to(dist.constraints.simplex).log_abs_det_jacobian(u["rows"], rows).sum()
    log_prior = dist.Dirichlet(torch.eye(2).double() + 0.5).log_prob(rows).sum()
    for base, temper in (("lebesgue", 0.7), ("prior", 1.0)):
        given = log_partition(enumerated_trace(view.program, {"rows": rows}, means), view.structure, 0.7, base).common
        expected = given + jacobian + (temper - 0.7) * log_prior
        torch.testing.assert_close(log_sum(view, u, 0.7, base), expected)


def test_a_given_value_outside_its_support_is_impossible():
    def model():
        s = pyro.sample("s", dist.Exponential(2.0))  # its log_prob alone takes any number
        pyro.sample("k", dist.Categorical(torch.ones(2)))
        pyro.factor("f", -s)

    assert EnergyView(model).bind().free_energy(given={"s": torch.tensor(-1.0)}).value == math.inf


def subsampled_rows(y):
    with pyro.plate("data", len(y)), pyro.plate("rows", 10, subsample=torch.arange(2)):
        z = pyro.sample("z", dist.LogNormal(ZERO, 0.7))
        pyro.sample("y", dist.Normal(z, 0.5), obs=torch.stack([y, y + 1]))


def subsampled_loop(y):
    with pyro.plate("data", len(y)):
        for i in pyro.plate("rows", 10, subsample=torch.arange(2)):
            z = pyro.sample(f"z_{i}", dist.LogNormal(ZERO, 0.7))
            pyro.sample(f"y_{i}", dist.Normal(z, 0.5), obs=y + i)


@pytest.mark.parametrize("program", [subsampled_rows, subsampled_loop])
def test_with_nothing_to_sum_it_is_minus_the_energy_and_each_jacobian_once(program):
    """A plate's subsampling factor, 5, belongs to the energy and not to du. Oracle: the view; log |dz / du| is u."""
    view = EnergyView(program).bind(Y)
    shapes = {name: view.structure.sites[name].shape for name in view.structure.latents}
    u = {name: torch.randn(shape).double() for name, shape in shapes.items()}
    energy, log_jacobian = view.energy({n: v.exp() for n, v in u.items()}), sum(v.sum() for v in u.values())
    torch.testing.assert_close(log_sum(view, u, 0.7, "lebesgue"), log_jacobian - 0.7 * energy)
    prior = sum(dist.LogNormal(ZERO, 0.7).log_prob(v.exp()).sum() for v in u.values())
    tempered = -energy - prior  # all of the energy but the measure
    torch.testing.assert_close(log_sum(view, u, 0.7, "prior"), log_jacobian + prior + 0.7 * tempered)


def test_every_latent_must_be_enumerable_given_or_a_coordinate():
    view = EnergyView(chain).bind(Y)
    with pytest.raises(NotEnumerable, match="'rows' .Independent. cannot be enumerated: it is continuous"):
        enumerated_trace(view.program, {}, {"means": torch.zeros(2).double()})


def test_a_check_covers_programs_of_coordinates():
    def model(y):
        z = pyro.sample("z", dist.Normal(ZERO, 1.0))
        k = pyro.sample("k", dist.Categorical(torch.ones(2)))
        pyro.sample("y", dist.Normal(z + k.double().mean(), 0.7), obs=y[0])

    for program, u in ((chain, coordinates(chain)), (model, {"z": ZERO})):
        view = EnergyView(program).bind(Y)
        trace = enumerated_trace(view.program, {}, u)
        if program is chain:
            check_enumeration(trace, view.program, {}, u)
        else:
            with pytest.raises(NotEnumerable, match="'y' has another log-probability"):
                check_enumeration(trace, view.program, {}, u)


def test_a_programs_own_settings_of_enumeration_change_nothing():
    def model(y, infer):
        k = pyro.sample("k", dist.Categorical(torch.tensor([0.2, 0.8]).double()), infer=infer)
        pyro.sample("y", dist.Normal(k.double(), 0.7), obs=y[0])

    settings = [{}, {"enumerate": "sequential"}, {"enumerate": "parallel", "num_samples": 7, "expand": True}]
    values = [EnergyView(model).bind(Y, infer).free_energy().value for infer in settings]
    assert all(torch.equal(first, second) for first, second in itertools.pairwise(values))
