"""The decoder against its own layers, and the program against the sum of its densities."""

import pyro.distributions as dist
import pytest
import torch
from pyro import poutine

from pyrometer.models import KindAndCodeVAE


def test_the_decoder_is_a_network_of_kind_and_code_side_by_side():
    """Oracle: what its first layer gives, from the column of the kind and the columns of the code."""
    model = KindAndCodeVAE((8, 9), kinds=4, latents=3, hidden=6)
    kind, code = torch.tensor([2, 0, 3, 2, 1]), torch.randn(5, 3)
    first = model.decoder[0]
    before = 2.0 * first.weight.T[kind] + code @ first.weight[:, 4:].T + first.bias  # 2 is the root of 4
    expected = model.decoder[1:](before).reshape(5, 8, 9)
    torch.testing.assert_close(model.decode(kind, code), expected)
    every = model.decode(torch.arange(4)[:, None], code)
    assert every.shape == (4, 5, 8, 9)
    torch.testing.assert_close(every[kind, torch.arange(5)], expected)


def test_its_energy_is_the_sum_of_prior_and_pixels():
    model = KindAndCodeVAE((8, 8), kinds=4, latents=3, hidden=6)
    image, kind, code = torch.bernoulli(torch.rand(5, 8, 8)), torch.tensor([2, 0, 3, 2, 1]), 1.5 * torch.randn(5, 3)
    held = poutine.condition(model, data={"kind": kind, "code": code})
    found = poutine.trace(held).get_trace(image).log_prob_sum()
    pixels = dist.Bernoulli(logits=model.decode(kind, code)).log_prob(image).sum()
    expected = pixels + dist.Normal(0.0, 1.0).log_prob(code).sum() - 5 * torch.tensor(4.0).log()
    torch.testing.assert_close(found, expected)


def test_images_of_another_shape_are_refused():
    with pytest.raises(ValueError, match="image"):
        KindAndCodeVAE((8, 8), kinds=4, latents=3, hidden=6)(torch.rand(5, 8, 9))
