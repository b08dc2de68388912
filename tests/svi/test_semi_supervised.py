"""The semi-supervised objective against Pyro's TraceEnum_ELBO, and against its formula."""

import pyro
import pyro.poutine as poutine
import pytest
import torch
from pyro.infer import Trace_ELBO, TraceEnum_ELBO

from pyrometer import SemiSupervised
from pyrometer.guides import DigitAndStyle
from pyrometer.models import SemiSupervisedVAE

FRACTION, WEIGHT = 0.25, 0.7


@pytest.fixture
def pair():
    model = SemiSupervisedVAE((8, 8), classes=4, style=3, hidden=6).double()
    return model, DigitAndStyle((8, 8), classes=4, style=3, hidden=6).double().eval()


@pytest.fixture
def streams():
    image, few = torch.rand(7, 8, 8, dtype=torch.float64), torch.rand(5, 8, 8, dtype=torch.float64)
    return {"unlabelled": {"image": image}, "labelled": {"image": few, "digit": torch.tensor([0, 3, 1, 1, 2])}}


def gradients(loss, pair):
    parameters = [p for program in pair for p in program.parameters()]
    found = torch.autograd.grad(loss, parameters, allow_unused=True)
    return [torch.zeros_like(p) if g is None else g for p, g in zip(parameters, found, strict=True)]


def enumerated_elbo(model, guide, batch):
    """Pyro's own sum over the labels, in parallel."""

    def configure(site):
        return {"enumerate": "parallel"} if site["name"] == "digit" else {}

    enumerated = poutine.infer_config(guide, config_fn=configure)
    return TraceEnum_ELBO(max_plate_nesting=1).differentiable_loss(model, enumerated, **batch)


def test_the_unlabelled_term_and_its_gradient_are_pyros(pair, streams):
    unlabelled_only = SemiSupervised(labelled_fraction=0.0, classification_weight=0.0)
    pyro.set_rng_seed(3)
    ours = unlabelled_only(*pair, **streams)
    pyro.set_rng_seed(3)
    pyros = enumerated_elbo(*pair, streams["unlabelled"])
    torch.testing.assert_close(ours, pyros)
    for one, other in zip(gradients(ours, pair), gradients(pyros, pair), strict=True):
        torch.testing.assert_close(one, other)


def test_the_labelled_terms_are_the_formula(pair, streams):
    model, guide = pair
    pyro.set_rng_seed(3)
    ours = SemiSupervised(FRACTION, classification_weight=WEIGHT)(model, guide, **streams)
    pyro.set_rng_seed(3)
    unlabelled = enumerated_elbo(model, guide, streams["unlabelled"])
    labelled = Trace_ELBO().differentiable_loss(model, guide, **streams["labelled"])
    image, digit = streams["labelled"]["image"], streams["labelled"]["digit"]
    cross_entropy = torch.nn.functional.cross_entropy(guide.classifier(image), digit)
    torch.testing.assert_close(ours, unlabelled + 7 * (FRACTION * labelled / 5 + WEIGHT * cross_entropy))


def test_the_papers_weight_is_the_default():
    assert SemiSupervised(FRACTION).classification_weight == 0.1


def test_self_training_changes_the_gradient_of_the_classifier_alone(pair, streams):
    model, guide = pair
    found = {}
    for weight in (0.0, 0.4, 1.0):
        pyro.set_rng_seed(3)
        loss = SemiSupervised(0.0, classification_weight=0.0, self_training=weight)(model, guide, **streams)
        found[weight] = loss.detach(), dict(zip(names(pair), gradients(loss, pair), strict=True))
    for name in names(pair):
        none, some, all_ = (found[weight][1][name] for weight in (0.0, 0.4, 1.0))
        if "classifier" in name:
            assert not none.any()
            torch.testing.assert_close(some, 0.4 * all_)
        else:
            torch.testing.assert_close(none, all_)
    assert found[0.0][0] == pytest.approx(found[1.0][0].item(), abs=1e-9)
    assert found[1.0][1]["1.classifier.logits.weight"].any()


def names(pair):
    return [f"{i}.{name}" for i, program in enumerate(pair) for name, _ in program.named_parameters()]


def test_a_schedule_of_self_training_gets_the_progress(pair, streams):
    seen = []

    def schedule(progress):
        seen.append(progress)
        return 1.0

    SemiSupervised(FRACTION, self_training=schedule)(*pair, **streams, progress=0.3)
    assert seen == [0.3]


def copies(*made):
    """An augmentation that gives the images of these in turn, as many times brighter or darker."""
    factors = iter(made)
    return lambda image: {"image": next(factors) * image}


def cross_entropy(guide, image, digit):
    return torch.nn.functional.cross_entropy(guide.classifier(image), digit)


def test_labels_are_those_of_copies_and_the_bounds_are_of_the_data(pair, streams):
    guide = pair[1]
    image, digit = streams["labelled"]["image"], streams["labelled"]["digit"]
    losses = []
    for augment in (None, copies(0.6)):
        pyro.set_rng_seed(3)
        losses.append(SemiSupervised(FRACTION, classification_weight=WEIGHT, augment=augment)(*pair, **streams))
    expected = 7 * WEIGHT * (cross_entropy(guide, 0.6 * image, digit) - cross_entropy(guide, image, digit))
    torch.testing.assert_close(losses[1] - losses[0], expected)
    assert expected.abs() > 1e-4


def test_consistency_is_the_cross_entropy_of_copies_with_what_their_data_are_taken_for(pair, streams):
    """Written with the classifier's own logits; the targets' batch mean is taken off, and they have no gradient."""
    model, guide = pair
    image = streams["unlabelled"]["image"]
    plain = SemiSupervised(FRACTION, augment=copies(0.8, 0.6), self_training=0.4)
    drawn = SemiSupervised(
        FRACTION,
        augment=copies(0.8, 0.6),
        self_training=0.4,
        consistency=lambda progress: 2 * progress,
        target_temperature=0.3,
    )
    losses = []
    for objective in (plain, drawn):
        pyro.set_rng_seed(3)
        losses.append(objective(model, guide, **streams, progress=0.85))
    q = guide.classifier(image).softmax(-1).detach()
    powers = (q / q.sum(0)) ** (1 / 0.3)
    target = powers / powers.sum(-1, keepdim=True)
    of_copy = guide.classifier(0.6 * image).log_softmax(-1)
    expected = -1.7 * (target * of_copy).sum()
    torch.testing.assert_close(losses[1] - losses[0], expected)
    difference = [b - a for a, b in zip(gradients(losses[0], pair), gradients(losses[1], pair), strict=True)]
    for found, wanted in zip(difference, gradients(expected, pair), strict=True):
        torch.testing.assert_close(found, wanted)
    assert any(wanted.any() for wanted in difference)


def test_consistency_wants_copies():
    with pytest.raises(ValueError, match="consistency compares each datum with a copy of it: pass augment"):
        SemiSupervised(FRACTION, consistency=1.0)
    with pytest.raises(ValueError, match="consistency must be a weight of 0 or more, got -1"):
        SemiSupervised(FRACTION, consistency=-1.0)
    with pytest.raises(ValueError, match="target_temperature must be positive, got 0.0"):
        SemiSupervised(FRACTION, target_temperature=0.0)
