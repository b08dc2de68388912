"""The auxiliary guide's density against the product of its parts, and the objective against a sum over all labels."""

import pyro
import pyro.poutine as poutine
import pytest
import torch
from torch.distributions import Categorical, Normal

from pyrometer import SemiSupervised
from pyrometer.guides import AuxiliaryEncoder
from pyrometer.models import AuxiliaryVAE

K, N = 4, 6
FRACTION, WEIGHT = 0.3, 0.7


@pytest.fixture(params=["auxiliary", "skip", "stacked"])
def pair(request):
    sizes = {"classes": K, "style": 3, "auxiliary": 2, "hidden": 5}
    model = AuxiliaryVAE((8, 9), **sizes, kind=request.param).double()
    return model, AuxiliaryEncoder((8, 9), **sizes).double().eval()


@pytest.fixture
def streams():
    few = {"image": torch.rand(5, 8, 9).double(), "digit": torch.tensor([0, 3, 1, 1, 2])}
    return {"unlabelled": {"image": torch.rand(N, 8, 9).double()}, "labelled": few}


def negative_bounds(model, guide, image, digit, drawn):
    """log q(a|x) q(z|a,x,y) - log p(x,y,z,a) by its formula, and log q(y|a,x); drawn: noise of a (N, 2), z (N, 3)."""
    loc, log_scale = guide.proposal(image.flatten(-2)).chunk(2, -1)
    q_a = Normal(loc, log_scale.exp())
    a = loc + log_scale.exp() * drawn[0]
    logits = guide.classifier(torch.cat([guide.evidence(image), a], -1))
    rows = [torch.cat([guide.features(image[n]), a[n]]) for n in range(len(image))]
    moments = [guide.moments.weight[y] @ row + guide.moments.bias[y] for row, y in zip(rows, digit, strict=True)]
    mean, log_width = torch.stack(moments).chunk(2, -1)
    z = mean + log_width.exp() * drawn[1]
    log_q = q_a.log_prob(a).sum(-1) + Normal(mean, log_width.exp()).log_prob(z).sum(-1)
    p = poutine.trace(poutine.condition(model, {"style": z, "auxiliary": a})).get_trace(image=image, digit=digit)
    p.compute_log_prob()
    log_p = sum(p.nodes[name]["log_prob"] for name in ("digit", "style", "auxiliary", "image"))
    return log_q - log_p, Categorical(logits=logits).log_prob(digit)


def noise(*shapes):
    """Standard normal numbers, those that a program with these sites draws from seed 3."""
    pyro.set_rng_seed(3)
    return [Normal(torch.zeros(*shape, dtype=torch.float64), 1.0).sample() for shape in shapes]


def parameters(pair):
    return [parameter for program in pair for parameter in program.parameters()]


def gradients(loss, pair):
    return torch.autograd.grad(loss, parameters(pair), allow_unused=True, materialize_grads=True)


def test_the_unlabelled_term_and_its_gradient_are_the_sum_over_all_labels_with_the_same_auxiliary_latent(pair, streams):
    """Oracle: the paper's bound, label by label, by the weights of the networks and the same noise."""
    image = streams["unlabelled"]["image"]
    pyro.set_rng_seed(3)
    ours = SemiSupervised(0.0, classification_weight=0.0)(*pair, **streams)
    of_a, of_z = noise((N, 2), (K, N, 3))
    total = torch.zeros(()).double()
    for y in range(K):
        bound, log_q = negative_bounds(*pair, image, torch.full((N,), y), (of_a, of_z[y]))
        total = total + (log_q.exp() * (bound + log_q)).sum()
    torch.testing.assert_close(ours, total)
    for one, other in zip(gradients(ours, pair), gradients(total, pair), strict=True):
        torch.testing.assert_close(one, other)


def test_the_labelled_terms_are_the_formula(pair, streams):
    model, guide = pair
    image, digit = streams["labelled"]["image"], streams["labelled"]["digit"]
    pyro.set_rng_seed(3)
    ours = SemiSupervised(FRACTION, classification_weight=WEIGHT)(model, guide, **streams)
    pyro.set_rng_seed(3)
    unlabelled = SemiSupervised(0.0, classification_weight=0.0)(model, guide, **streams)
    _, _, of_a, of_z, again = noise((N, 2), (K, N, 3), (5, 2), (5, 3), (5, 2))
    bound, _ = negative_bounds(model, guide, image, digit, (of_a, of_z))
    _, log_q = negative_bounds(model, guide, image, digit, (again, of_z))
    expected = unlabelled + N * (FRACTION * bound.sum() / 5 - WEIGHT * log_q.mean())
    torch.testing.assert_close(ours, expected)


def test_the_digit_is_a_mixture_over_the_auxiliary_latent(pair):
    """With another draw of a, the same image has another q(digit | a, image): that is what a is for."""
    _, guide = pair
    image = torch.rand(1, 8, 9).double()
    drawn = guide.auxiliary_distribution(image).sample((50,))
    probabilities = guide.digit_distribution(image, drawn).probs
    assert probabilities.shape == (50, 1, K)
    assert (probabilities.std(0) > 1e-4).all()


def test_the_style_has_weights_for_each_digit(pair):
    _, guide = pair
    image, auxiliary = torch.rand(3, 8, 9).double(), torch.randn(3, 2).double()
    every = guide.style_distribution(image, auxiliary, torch.arange(K)[:, None])
    assert every.mean.shape == (K, 3, 3)
    each = [guide.style_distribution(image, auxiliary, torch.full((3,), y)).mean for y in range(K)]
    torch.testing.assert_close(every.mean, torch.stack(each))
    assert not torch.allclose(every.mean[0], every.mean[1])
