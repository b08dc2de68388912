"""The guide's two distributions against the parts of what its network gives."""

import pytest
import torch
from pyro import poutine

from pyrometer.guides import KindAndCode


def test_its_distributions_are_read_off_one_network():
    guide = KindAndCode((8, 9), kinds=4, latents=3, hidden=6)
    image = torch.rand(5, 8, 9)
    kind, code = guide.distributions(image)
    read = guide.encoder(image.flatten(-2))
    torch.testing.assert_close(kind.logits, read[:, :4].log_softmax(-1))
    torch.testing.assert_close(code.mean, read[:, 4:7])
    torch.testing.assert_close(code.stddev, read[:, 7:].clamp(-6, 3).exp())
    sites = poutine.trace(guide).get_trace(image).nodes
    torch.testing.assert_close(sites["kind"]["fn"].logits, kind.logits)
    torch.testing.assert_close(sites["code"]["fn"].mean, code.mean)


def test_images_of_another_shape_are_refused():
    with pytest.raises(ValueError, match="image"):
        KindAndCode((8, 8), kinds=4, latents=3, hidden=6)(torch.rand(5, 8, 9))
