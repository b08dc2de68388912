"""Labels and images that a semi-supervised training may be given: it works, or says at the start what is wrong."""

import math
from functools import partial

import pyro
import pytest
import torch
from torch.nn.functional import pad

from pyrometer import SemiSupervised, fit
from pyrometer.data import ImageDataset, digits, semi_supervised_split, train_test_split
from pyrometer.guides import AuxiliaryEncoder, DigitAndStyle
from pyrometer.models import AuxiliaryVAE, SemiSupervisedVAE
from pyrometer.recipes.jointvae import recipe as jointvae
from pyrometer.recipes.ssvae import recipe as ssvae

SIZES = {"style": 3, "hidden": 10}


@pytest.fixture(scope="module")
def train():
    """A quarter of the images, 450."""
    return train_test_split(digits(), 0.75, seed=3).train


def pairs(shape=(8, 8)):
    auxiliary = {"auxiliary": 2, **SIZES}
    return {
        "digit and style": (SemiSupervisedVAE(shape, **SIZES), DigitAndStyle(shape, **SIZES)),
        "auxiliary": (AuxiliaryVAE(shape, **auxiliary), AuxiliaryEncoder(shape, **auxiliary)),
        "skip": (AuxiliaryVAE(shape, **auxiliary, kind="skip"), AuxiliaryEncoder(shape, **auxiliary)),
    }


def trained(data, pair="digit and style", batch_size=None, **how):
    batch_size = {"unlabelled": 100, "labelled": 20} if batch_size is None else batch_size
    model, guide = pairs()[pair]
    objective, adam = SemiSupervised(0.25, classification_weight=1.0), partial(torch.optim.Adam, lr=5e-3)
    shared = {"epochs": 1, "seed": 0, "progress": False, "compile": False, **how}
    result = fit(model, guide, data, objective=objective, batch_size=batch_size, optimizer=adam, **shared)
    assert all(math.isfinite(row["loss"]) for row in result.history)
    return guide, result


@pytest.mark.parametrize("pair", pairs())
def test_images_of_another_size_are_refused_with_both_sizes(train, pair):
    data = semi_supervised_split(train, 20, seed=0).streams()
    data["unlabelled"]["image"] = pad(data["unlabelled"]["image"], (2, 2, 1, 1))
    with pytest.raises(ValueError, match=r"unlabelled.*\(N, 8, 8\).*got \(100, 10, 12\).*shape=\(10, 12\)"):
        trained(data, pair)


def test_only_the_labelled_images_being_of_another_size_is_refused_too(train):
    data = semi_supervised_split(train, 20, seed=0).streams()
    data["labelled"]["image"] = pad(data["labelled"]["image"], (2, 2, 1, 1))
    with pytest.raises(ValueError, match=r"labelled, 20 rows: image.*got \(20, 10, 12\)"):
        trained(data)


@pytest.mark.parametrize("change", [lambda image: image[:, None], lambda image: image.flatten(1)])
def test_an_axis_too_many_or_too_few_is_refused_with_the_remedy(train, change):
    data = semi_supervised_split(train, 20, seed=0).streams()
    for stream in data.values():
        stream["image"] = change(stream["image"])
    with pytest.raises(ValueError, match=r"image must have shape \(N, 8, 8\).*channel axis by image.squeeze\(1\)"):
        trained(data)


def test_the_model_by_itself_refuses_images_of_another_size():
    for model, _ in pairs().values():
        with pytest.raises(ValueError, match=r"\(N, 8, 8\).*got \(4, 28, 28\)"):
            model(image=torch.rand(4, 28, 28))


@pytest.mark.parametrize("pair", pairs())
def test_a_digit_without_labels_is_trained_on_without_them(train, pair):
    split = semi_supervised_split(train, 20, seed=0)
    kept = split.labelled.subset((split.labelled.digit != 3).nonzero().squeeze(1))
    assert 3 not in kept.digit
    assert (train.digit == 3).any()
    guide, _ = trained({"unlabelled": {"image": split.unlabelled}, "labelled": kept.batch()}, pair)
    with torch.no_grad():
        assert guide.digit_distribution(train.image).probs.isfinite().all()


def test_a_split_of_images_that_lack_a_digit_shares_the_labels_among_the_others(train):
    nine = train.subset((train.digit != 3).nonzero().squeeze(1))
    split = semi_supervised_split(nine, 18, seed=0)
    assert split.labelled.digit.bincount(minlength=10).tolist() == [2, 2, 2, 0, 2, 2, 2, 2, 2, 2]
    with pytest.raises(ValueError, match="multiple of 9, the number of digits present.*got 20; ask for 18"):
        semi_supervised_split(nine, 20, seed=0)


def test_no_labels_are_refused_with_how_many_to_ask_for(train):
    with pytest.raises(ValueError, match="labels must be a positive multiple of 10.*got 0; ask for 10"):
        ssvae(labels=0)
    none = {"image": torch.zeros(0, 8, 8), "digit": torch.zeros(0, dtype=torch.int64)}
    with pytest.raises(ValueError, match=r"data\['labelled'\] must not be empty"):
        trained({"unlabelled": {"image": train.image}, "labelled": none})


def test_without_any_labels_there_is_another_recipe():
    made = jointvae(hidden=10)
    assert set(made.data) == {"image"}
    assert made.labels is None


def test_all_labels_can_be_kept_though_digits_differ_in_number(train):
    split = semi_supervised_split(train, len(train), seed=0)
    assert torch.equal(split.labelled.digit.sort().values, train.digit.sort().values)
    assert split.labelled.digit.bincount().unique().numel() > 1
    torch.testing.assert_close(split.labelled.image, split.unlabelled)
    _, result = trained(split.streams())
    assert result.steps == -(-len(train) // 20)  # the labelled stream has the most batches


def test_the_remedy_for_too_many_labels_is_one_that_works(train):
    fewest = int(train.digit.bincount().min())
    with pytest.raises(ValueError, match=f"got {len(train) - 1}; ask for {10 * fewest}"):
        semi_supervised_split(train, len(train) - 1, seed=0)
    assert len(semi_supervised_split(train, 10 * fewest, seed=0).labelled) == 10 * fewest


@pytest.mark.parametrize("pair", pairs())
def test_a_batch_larger_than_the_labelled_set_holds_all_of_it(train, pair):
    data = semi_supervised_split(train, 10, seed=0).streams()
    _, result = trained(data, pair, {"unlabelled": 100, "labelled": 50})
    assert result.steps == -(-len(train) // 100)


def test_labels_that_are_no_digits_are_refused_where_the_images_are_made(train):
    with pytest.raises(ValueError, match="digit must lie in 0-9: .* the first is 10"):
        ImageDataset(train.image, train.digit + 1)


def test_a_refusal_leaves_the_random_state_and_the_pair_as_they_were(train):
    data = semi_supervised_split(train, 20, seed=0).streams()
    data["unlabelled"]["image"] = pad(data["unlabelled"]["image"], (2, 2, 2, 2))
    pyro.set_rng_seed(7)
    state = torch.get_rng_state()
    model, guide = pairs()["digit and style"]
    torch.set_rng_state(state)
    before = {name: value.clone() for name, value in guide.state_dict().items()}
    with pytest.raises(ValueError, match="image must have shape"):
        fit(model, guide, data, objective=SemiSupervised(0.25), epochs=1, batch_size=100, seed=0, progress=False)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(value, before[name]) for name, value in guide.state_dict().items())
