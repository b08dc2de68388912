"""The terms of the ELBO: their sum against the ELBO, each against quadrature, enumeration and closed forms."""

import math

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import Trace_ELBO
from torch import nn

from pyrometer import fit
from pyrometer.data import digits
from pyrometer.guides import DigitAndStyle, GaussianEncoder
from pyrometer.inference.svi import Decomposed
from pyrometer.inference.svi.enumerated_label import enumerate_label
from pyrometer.models import VAE, SemiSupervisedVAE
from pyrometer.networks import mlp

SIGMAS = 4.3  # two-sided failure rate 2e-5 of a true claim
WEIGHTS = {"reconstruction": 0.7, "information": 1.7, "between": 3.0, "within": 6.0, "marginal": 0.4}


def code_pair(latents=3):
    model, guide = VAE((8, 8), latents=latents, hidden=9), GaussianEncoder((8, 8), latents=latents, hidden=9)
    return model.double(), guide.double()


def digit_pair():
    classifier = nn.Sequential(nn.Flatten(-2), mlp(64, 12, 4))
    model = SemiSupervisedVAE((8, 8), classes=4, style=3, hidden=9)
    guide = DigitAndStyle((8, 8), classes=4, style=3, hidden=9, classifier=classifier)
    return model.double(), guide.double()


@pytest.fixture
def image():
    return torch.bernoulli(digits().image[:12]).double()


def minus_elbo(model, guide, image):
    """Of the same draws: by Pyro, or with the digit enumerated."""
    if isinstance(model, VAE):
        return Trace_ELBO().differentiable_loss(model, guide, image=image)
    free_energy, log_q = enumerate_label(model, guide, "digit", {"image": image})
    return (log_q.exp() * (free_energy + log_q)).sum()


def gradient(value, pair):
    parameters = [weight for program in pair for weight in program.parameters()]
    return torch.cat([g.flatten() for g in torch.autograd.grad(value, parameters, retain_graph=True)])


@pytest.mark.parametrize("pair", [code_pair, digit_pair])
@pytest.mark.parametrize("size", [12, 500])
def test_the_terms_add_up_to_minus_the_elbo_and_so_do_their_gradients(pair, size, image):
    """Whatever part of the data the batch is: the estimate of q(z) drops out of the sum."""
    programs = pair()
    pyro.set_rng_seed(3)
    expected = minus_elbo(*programs, image)
    pyro.set_rng_seed(3)
    total = Decomposed(size)(*programs, image=image)
    assert total.item() == pytest.approx(expected.item(), abs=1e-5)
    torch.testing.assert_close(gradient(total, programs), gradient(expected, programs), atol=1e-8, rtol=1e-8)


@pytest.mark.parametrize("pair", [code_pair, digit_pair])
def test_the_gradient_of_the_objective_is_the_weighted_sum_of_the_terms_gradients(pair, image):
    programs = pair()
    objective = Decomposed(500, weights=WEIGHTS | {"marginal/style[1]": 2.5} if pair is digit_pair else WEIGHTS)
    pyro.set_rng_seed(3)
    total = objective(*programs, image=image)
    pyro.set_rng_seed(3)
    terms = objective.terms(*programs, image=image)
    parts = {name: 12 * objective.weight(name) * value for name, value in terms.items()}
    assert total.item() == pytest.approx(sum(part.item() for part in parts.values()), rel=1e-12)
    moving = [part for part in parts.values() if part.requires_grad]
    torch.testing.assert_close(gradient(total, programs), sum(some_gradient(part, programs) for part in moving))


def some_gradient(value, pair):
    parameters = [weight for program in pair for weight in program.parameters()]
    slopes = torch.autograd.grad(value, parameters, retain_graph=True, materialize_grads=True, allow_unused=True)
    return torch.cat([slope.flatten() for slope in slopes])


def test_in_single_precision_the_sum_is_off_by_no_more_than_rounding(image):
    model, guide = (program.float() for program in digit_pair())
    pyro.set_rng_seed(3)
    expected = minus_elbo(model, guide, image.float())
    pyro.set_rng_seed(3)
    assert Decomposed(500)(model, guide, image=image.float()).item() == pytest.approx(expected.item(), rel=1e-6)


def test_one_group_with_a_weight_on_its_total_correlation_is_beta_tcvae(image):
    """Oracle: equation 4 of Chen et al., written from the moments that the encoder gives."""
    model, guide = code_pair(latents=3)
    size, beta, rows = 40, 5.0, 12
    pyro.set_rng_seed(3)
    found = Decomposed(size, weights={"within": beta})(model, guide, image=image)
    pyro.set_rng_seed(3)
    q = guide.distribution(image).base_dist
    code = q.rsample()
    log_density = q.log_prob(code[:, None])  # of draw i given image j, by dimension
    weights = image.new_full((rows, rows), (size - 1) / (size * (rows - 1))).fill_diagonal_(1 / size)
    loss = 0.0
    for i in range(rows):
        joint = (weights[i] * log_density[i].sum(-1).exp()).sum().log()
        each = [(weights[i] * log_density[i, :, d].exp()).sum().log() for d in range(3)]
        prior = dist.Normal(0.0, 1.0).log_prob(code[i])
        likelihood = dist.Bernoulli(logits=model.decode(code[i])).log_prob(image[i]).sum()
        divergences = sum(each[d] - prior[d] for d in range(3))
        loss = loss - likelihood + (log_density[i, i].sum() - joint) + beta * (joint - sum(each)) + divergences
    assert found.item() == pytest.approx(loss.item(), abs=1e-9)
    torch.testing.assert_close(gradient(found, (model, guide)), gradient(loss, (model, guide)))


def repeated(objective, model, guide, times, **batch):
    """The mean of each term over calls, and its standard error."""
    with torch.no_grad():
        calls = [objective.terms(model, guide, **batch) for _ in range(times)]
    values = {name: torch.stack([call[name] for call in calls]) for name in calls[0]}
    return {name: (v.mean().item(), v.std().item() / math.sqrt(times)) for name, v in values.items()}


SHARES = torch.tensor([[0.7, 0.2, 0.1], [0.1, 0.6, 0.3], [0.3, 0.3, 0.4], [0.05, 0.15, 0.8]], dtype=torch.float64)
PLACES = torch.tensor([[-2.0, 0.0, 1.0], [0.5, -1.0, 2.0], [1.5, 0.3, -0.7], [0.0, 2.5, 0.9]], dtype=torch.float64)
WIDTH, PRIOR_WIDTH = 0.6, 1.7
PRIOR = torch.tensor([0.5, 0.2, 0.3], dtype=torch.float64)


def kind_and_place(x):
    """x is the number of a datum, and nothing is observed but by a factor."""
    with pyro.plate("data", len(x)):
        kind = pyro.sample("kind", dist.Categorical(PRIOR))
        place = pyro.sample("place", dist.Normal(torch.tensor(0.3, dtype=torch.float64), PRIOR_WIDTH))
        pyro.factor("x", -0.5 * (place - kind - x).square())


def kind_and_place_guide(x):
    with pyro.plate("data", len(x)):
        kind = pyro.sample("kind", dist.Categorical(SHARES[x]))
        pyro.sample("place", dist.Normal(PLACES[x, kind], WIDTH))


def test_with_a_discrete_and_a_continuous_latent_each_term_is_that_of_enumeration_and_quadrature():
    """Oracle: joint probabilities of datum, kind and place on a fine grid of places, and sums over all of them."""
    x = torch.arange(4)
    grid = torch.linspace(-7, 8, 3001, dtype=torch.float64)
    step = grid[1] - grid[0]
    density = dist.Normal(PLACES.unsqueeze(-1), WIDTH).log_prob(grid).exp()  # datum, kind, place
    given_x = SHARES.unsqueeze(-1) * density
    joint = given_x.mean(0)
    kind, place = joint.sum(-1) * step, joint.sum(0)
    of_x = {"kind": SHARES, "place": given_x.sum(1)}

    def mean(values):  # over the datum, the kind and the place
        return ((given_x * values).sum() * step / 4).item()

    kind_known = (SHARES / kind).log().unsqueeze(-1)
    expected = {
        "reconstruction": mean(0.5 * (grid - x[:, None, None] - torch.arange(3)[:, None]).square()),
        "information/kind": mean(kind_known),
        "information/place": mean((given_x / joint).log() - kind_known),
        "between": mean((joint / (kind.unsqueeze(-1) * place)).log()),
        "within/kind": 0.0,
        "within/place": 0.0,
        "marginal/kind": mean((kind / PRIOR).log().unsqueeze(-1)),
        "marginal/place": mean((place.log() - dist.Normal(0.3, PRIOR_WIDTH).log_prob(grid)).expand(4, 3, -1)),
    }
    assert of_x["place"].sum() * step == pytest.approx(4.0)
    assert expected["between"] > 0.05
    found = repeated(Decomposed(4), kind_and_place, kind_and_place_guide, 300, x=x)
    assert found.keys() == expected.keys()
    for name, (value, error) in found.items():
        assert abs(value - expected[name]) < SIGMAS * error + 1e-9, name
    exact = ("information/kind", "marginal/kind")  # nothing is drawn for them
    assert all(found[name][0] == pytest.approx(expected[name], abs=1e-9) for name in exact)


WIDTHS = torch.tensor([0.9, 1.3, 0.7], dtype=torch.float64)
SLOPES = torch.tensor([[1.1, 0.3], [1.2, -0.2], [0.3, 0.7]], dtype=torch.float64)
SPREAD = torch.tensor([[0.64, 0.2], [0.2, 1.44]], dtype=torch.float64)
SHIFT = torch.tensor([0.4, -0.3, 0.0], dtype=torch.float64)


def linear(x):
    with pyro.plate("data", len(x)):
        pair = pyro.sample("pair", dist.Normal(torch.zeros(2).double(), 1.5).to_event(1))
        one = pyro.sample("one", dist.Normal(torch.zeros(1).double(), 0.8).to_event(1))
        pyro.sample("x", dist.Normal(pair + one, 0.5).to_event(1), obs=x)


def linear_guide(x):
    """q(z | x) = N(A x + b, diag(w^2)) in three dimensions, two in one site and one in the other."""
    loc = x @ SLOPES.T + SHIFT
    with pyro.plate("data", len(x)):
        pyro.sample("pair", dist.Normal(loc[:, :2], WIDTHS[:2]).to_event(1))
        pyro.sample("one", dist.Normal(loc[:, 2:], WIDTHS[2:]).to_event(1))


def test_of_gaussian_data_and_a_linear_gaussian_guide_each_term_is_its_closed_form():
    """Oracle: x ~ N(0, C) makes q(z) = N(b, A C A' + W), whose information and correlations are determinants.

    The terms are those of N data rather than of their distribution, which differ by a multiple of 1/N: a fifth of the
    standard error here.
    """
    total = SLOPES @ SPREAD @ SLOPES.T + WIDTHS.square().diag()
    variances, noise = total.diag(), WIDTHS.square()

    def half_log(block, over):
        return 0.5 * (torch.linalg.slogdet(block)[1] - over.log().sum()).item()

    known, all_known = half_log(total[:2, :2], noise[:2]), half_log(total, noise)
    within = -half_log(total[:2, :2], variances[:2])
    prior = torch.tensor([1.5, 1.5, 0.8], dtype=torch.float64).square()
    divergences = 0.5 * ((variances + SHIFT.square()) / prior - 1 - (variances / prior).log())
    expected = {
        "information/pair": known,
        "information/one": all_known - known,
        "between": -half_log(total, variances) - within,
        "within/pair": within,
        "within/one": 0.0,
        **{f"marginal/{name}": d.item() for name, d in zip(["pair[0]", "pair[1]", "one[0]"], divergences, strict=True)},
    }
    objective, values = Decomposed(500), []
    with torch.no_grad():
        for _ in range(25):
            x = dist.MultivariateNormal(torch.zeros(2).double(), SPREAD).sample((500,))
            values.append(objective.terms(linear, linear_guide, x=x))
    for name, value in expected.items():
        found = torch.stack([one[name] for one in values])
        assert abs(found.mean() - value) < SIGMAS * found.std() / 5 + 1e-9, name
    assert min(expected["between"], within) > 0.05


def test_all_latents_can_be_one_group_or_in_another_order():
    x = torch.randn(30, 2).double()
    for groups in ({"all": ["one", "pair"]}, {"b": ["one"], "a": ["pair"]}):
        pyro.set_rng_seed(3)
        terms = Decomposed(60, groups).terms(linear, linear_guide, x=x)
        pyro.set_rng_seed(3)
        other = Decomposed(60).terms(linear, linear_guide, x=x)
        assert [name for name in terms if "information" in name] == [f"information/{group}" for group in groups]
        assert sum(terms.values()).item() == pytest.approx(sum(other.values()).item(), abs=1e-9)
        correlations = sum(value for name, value in other.items() if name.startswith(("between", "within")))
        found = sum(value for name, value in terms.items() if name.startswith(("between", "within")))
        assert found.item() == pytest.approx(correlations.item(), abs=1e-9)


def test_a_weight_on_total_correlation_makes_a_trained_code_less_correlated():
    image = digits().image[:302]  # the last batch is smaller

    def trained(beta):
        pyro.set_rng_seed(3)
        model, guide = VAE((8, 8), latents=8, hidden=30), GaussianEncoder((8, 8), latents=8, hidden=30)
        adam = lambda parameters: torch.optim.Adam(parameters, lr=1e-2)  # noqa: E731
        objective = Decomposed(len(image), weights={"within": beta})
        how = {"epochs": 20, "batch_size": 60, "optimizer": adam, "progress": False, "compile": False}
        fitted = fit(model, guide, {"image": image}, objective=objective, seed=0, **how)
        assert fitted.history[-1]["loss"] < fitted.history[0]["loss"]
        with torch.no_grad():
            return objective.terms(model, guide, image=image)

    plain, weighed = trained(1.0), trained(10.0)
    assert plain["within/code"] > 0.1
    assert weighed["within/code"] < 0.3 * plain["within/code"]


def test_what_names_no_site_no_term_or_no_number_of_data_is_refused(image):
    with pytest.raises(ValueError, match="'digit' is in 'a' and in 'b'"):
        Decomposed(50, {"a": ["digit"], "b": ["style", "digit"]})
    with pytest.raises(ValueError, match=r"groups\['a'\] must be a list.*got 'digit'"):
        Decomposed(50, {"a": "digit"})
    with pytest.raises(ValueError, match="size must be the number of data.*got 1"):
        Decomposed(1)
    with pytest.raises(ValueError, match="must name terms, which begin with.*got 'tc'"):
        Decomposed(50, weights={"tc": 2.0})
    with pytest.raises(ValueError, match=r"weights\['within'\] must be a finite number, got nan"):
        Decomposed(50, weights={"within": math.nan})
    pair = digit_pair()
    with pytest.raises(ValueError, match=r"each of them and.*but \['pen'\] are none, and \['style'\] are left"):
        Decomposed(50, {"a": ["digit"], "b": ["pen"]})(*pair, image=image)
    with pytest.raises(ValueError, match=r"weights must name terms, which are \['reconstruction'.*got 'marginal/pen'"):
        Decomposed(50, weights={"marginal/pen": 2.0})(*pair, image=image)


def test_a_batch_of_one_and_one_larger_than_the_data_are_refused(image):
    pair = code_pair()
    with pytest.raises(ValueError, match="a batch must have at least 2 data.*got 1"):
        Decomposed(50)(*pair, image=image[:1])
    with pytest.raises(ValueError, match="number of all data.*got 11 and a batch of 12"):
        Decomposed(11)(*pair, image=image)


def test_a_last_batch_of_one_is_refused_before_the_training(image, tmp_path):
    how = {"objective": Decomposed(11), "batch_size": 5, "epochs": 2, "out": tmp_path / "run", "progress": False}
    with pytest.raises(ValueError, match="a batch must have at least 2 data.*got 1: choose a batch_size"):
        fit(*code_pair(), {"image": image[:11]}, **how)
    assert not (tmp_path / "run").exists()


def test_a_longer_name_counts_before_a_shorter_one():
    objective = Decomposed(50, weights={"marginal": 2.0, "marginal/style": 3.0, "marginal/style[1]": 5.0})
    weights = {name: objective.weight(name) for name in ("marginal/digit", "marginal/style[0]", "marginal/style[1]")}
    assert list(weights.values()) == [2.0, 3.0, 5.0]
    assert objective.weight("marginal/styles[1]") == 2.0
    assert objective.weight("within/style") == 1.0
