"""The objective of a label that is never observed: against its formula label by label, and against quadrature."""

import pyro
import pyro.distributions as dist
import pyro.poutine as poutine
import pytest
import torch

from pyrometer import EnergyView, fit
from pyrometer.guides import DigitAndStyle
from pyrometer.inference.svi import SummedLabel
from pyrometer.inference.svi.enumerated_label import enumerate_label
from pyrometer.models import SemiSupervisedVAE

SIGMAS = 4.3  # two-sided failure rate 2e-5 of a true claim
K, N = 4, 7


@pytest.fixture
def pair():
    model = SemiSupervisedVAE((8, 9), classes=K, style=1, hidden=6).double()
    return model, DigitAndStyle((8, 9), classes=K, style=1, hidden=6).double().eval()


@pytest.fixture
def image():
    return torch.rand(N, 8, 9, dtype=torch.float64)


def gradients(loss, pair):
    parameters = [parameter for program in pair for parameter in program.parameters()]
    return torch.autograd.grad(loss, parameters, allow_unused=True, materialize_grads=True)


@pytest.mark.parametrize("weight", [1.0, 3.0])
def test_the_value_and_its_gradient_are_the_formula(pair, image, weight):
    """Oracle: a loop over labels, with the style's density and the energies by hand."""
    model, guide = pair
    pyro.set_rng_seed(3)
    ours = SummedLabel()(model, guide, weight=weight, image=image)
    pyro.set_rng_seed(3)
    noise = dist.Normal(torch.zeros(K, N, 1, dtype=torch.float64), 1.0).sample()
    each = []
    for y in range(K):
        q = guide.style_distribution(image, torch.full((N,), y))
        style = q.mean + q.base_dist.scale * noise[y]
        rate = q.log_prob(style) - dist.Normal(0.0, 1.0).log_prob(style).sum(-1)
        logits = model.decode(torch.full((N,), y), style)
        cost = (torch.nn.functional.softplus(logits) - image * logits).sum((-1, -2))
        each.append(cost + weight * rate + torch.tensor(float(K)).log())
    energies = torch.stack(each)
    log_q = guide.digit_distribution(image).logits.T
    expected = -(-energies).logsumexp(0).sum() - ((-energies.detach()).softmax(0) * log_q).sum()
    torch.testing.assert_close(ours, expected)
    for one, other in zip(gradients(ours, pair), gradients(expected, pair), strict=True):
        torch.testing.assert_close(one, other)


def test_the_first_term_bounds_the_free_energy_and_lies_below_that_of_the_guide(pair, image):
    """Oracle: F_1 by quadrature over the one dimension of the style, the digits being summed."""
    model, guide = pair
    exact = EnergyView(model).bind(image).free_energy(method="quadrature").value.item()
    summed, guided = [], []
    with torch.no_grad():
        for _ in range(100):
            state = torch.get_rng_state()
            free_energy, log_q = enumerate_label(model, guide, "digit", {"image": image})
            torch.set_rng_state(state)
            cross_entropy = -((-free_energy).softmax(0) * log_q).sum()
            summed.append(SummedLabel()(model, guide, image=image) - cross_entropy)
            guided.append((log_q.exp() * (free_energy + log_q)).sum())
    ours, other = torch.stack(summed), torch.stack(guided)
    error = ours.std() / 100**0.5
    assert ours.mean() > exact - SIGMAS * error
    assert (ours < other).all()
    assert ours.mean() < exact + 3.0


def test_the_guides_digits_learn_the_models_posterior_and_move_nothing_else(pair, image):
    model, guide = pair
    names = [f"{i}.{name}" for i, program in enumerate(pair) for name, _ in program.named_parameters()]

    def found():
        pyro.set_rng_seed(3)
        return dict(zip(names, gradients(SummedLabel()(model, guide, image=image), pair), strict=True))

    before = found()
    with torch.no_grad():
        guide.classifier.logits.weight.mul_(0.5)
    after = found()
    for name in names:
        assert torch.equal(after[name], before[name]) == ("classifier" not in name), name


def test_it_finds_the_two_clusters_of_points_on_a_line():
    """Oracle: the posterior of a mixture of two normals in closed form."""
    points = torch.cat([-2.0 + 0.4 * torch.randn(60), 1.5 + 0.4 * torch.randn(60)])
    shares = torch.tensor([0.4, 0.6])

    class Model(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.mean = torch.nn.Parameter(torch.tensor([-0.1, 0.1]))

        def forward(self, y):
            with pyro.plate("data", len(y)):
                k = pyro.sample("k", dist.Categorical(shares))
                pyro.sample("y", dist.Normal(self.mean[k], 0.4), obs=y)

    class Guide(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.logits = torch.nn.Linear(1, 2)

        def forward(self, y):
            with pyro.plate("data", len(y)):
                pyro.sample("k", dist.Categorical(logits=self.logits(y[:, None])))

    model, guide = Model(), Guide()
    adam = lambda parameters: torch.optim.Adam(parameters, lr=0.05)  # noqa: E731
    how = {"optimizer": adam, "schedule": lambda t: 1 - t, "progress": False, "compile": False}
    fit(model, guide, {"y": points}, objective=SummedLabel("k"), steps=200, batch_size=None, seed=0, **how)
    assert model.mean.detach().sort().values.tolist() == pytest.approx([-2.0, 1.5], abs=0.25)
    grid = torch.linspace(-2, 1.5, 5)
    q = poutine.trace(guide).get_trace(grid).nodes["k"]["fn"].probs
    exact = (shares.log() + dist.Normal(model.mean, 0.4).log_prob(grid[:, None])).softmax(-1)
    assert (q - exact)[[0, -1]].abs().max() < 0.05


def test_the_price_falls_geometrically_to_one():
    objective = SummedLabel(price=16.0, until=0.5)
    weights = [objective.numbers(progress)["weight"] for progress in (0.0, 0.125, 0.25, 0.5, 0.9)]
    assert weights == pytest.approx([16.0, 8.0, 4.0, 1.0, 1.0])


def test_what_is_no_schedule_and_a_label_that_is_no_site_are_refused(pair, image):
    with pytest.raises(ValueError, match="price must be at least 1.*got 0.5"):
        SummedLabel(price=0.5)
    with pytest.raises(ValueError, match=r"until must lie in \(0, 1\].*got 0"):
        SummedLabel(until=0)
    with pytest.raises(ValueError, match=r"'letter', but its sites are \['digit', 'style'\]"):
        SummedLabel("letter")(*pair, image=image)
