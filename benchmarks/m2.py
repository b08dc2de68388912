"""M2 of Kingma et al. (2014) as two Pyro programs, with the sizes of Pyro's ``ss_vae_M2.py``.

q(y|x) is a network 784-500-10, q(z|x, y) one of (784 + 10)-500-(50, 50), p(x|y, z) one of (50 + 10)-500-784, each with
softplus between, and the digit one-hot beside the other part of the input.
"""

import pyro
import pyro.distributions as dist
import torch
from pyro.infer import config_enumerate
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["DIGITS", "HIDDEN", "M2", "PIXELS", "STYLE", "M2Guide", "M2Networks", "Network"]

PIXELS, DIGITS, HIDDEN, STYLE = 784, 10, 500, 50


class Network(nn.Module):
    """One hidden layer over the parts of the input side by side, broadcast to each other."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(inputs, HIDDEN), nn.Linear(HIDDEN, outputs)

    def forward(self, *parts: Tensor) -> Tensor:
        """Of parts (..., inputs of its own) to (..., outputs)."""
        shape = torch.broadcast_shapes(*(part.shape[:-1] for part in parts))
        whole = torch.cat([part.expand(*shape, -1) for part in parts], -1)
        return self.last(F.softplus(self.first(whole)))


class M2Networks(nn.Module):
    """Of the guide's digit, of its style, and of the model's image."""

    def __init__(self) -> None:
        super().__init__()
        self.classifier = Network(PIXELS, DIGITS)
        self.encoder = Network(PIXELS + DIGITS, 2 * STYLE)
        self.decoder = Network(STYLE + DIGITS, PIXELS)


class M2(nn.Module):
    """y uniform, z ~ N(0, I), x ~ Bernoulli, of images (N, 784), and digits (N, 10) where they are known."""

    def __init__(self, decoder: nn.Module) -> None:
        super().__init__()
        self.decoder = decoder

    def forward(self, image: Tensor, digit: Tensor | None = None) -> None:
        """The program."""
        pyro.module("decoder", self.decoder)
        with pyro.plate("data", len(image)):
            digit = pyro.sample("digit", dist.OneHotCategorical(logits=image.new_zeros(DIGITS)), obs=digit)
            style = pyro.sample("style", dist.Normal(image.new_zeros(STYLE), 1.0).to_event(1))
            pyro.sample("image", dist.Bernoulli(logits=self.decoder(style, digit)).to_event(1), obs=image)


class M2Guide(nn.Module):
    """q(y|x) q(z|x, y), the digit summed out where it is not known."""

    def __init__(self, classifier: nn.Module, encoder: nn.Module) -> None:
        super().__init__()
        self.classifier, self.encoder = classifier, encoder

    @config_enumerate(default="parallel")
    def forward(self, image: Tensor, digit: Tensor | None = None) -> None:
        """The program."""
        pyro.module("classifier", self.classifier)
        pyro.module("encoder", self.encoder)
        with pyro.plate("data", len(image)):
            if digit is None:
                digit = pyro.sample("digit", dist.OneHotCategorical(logits=self.classifier(image)))
            loc, log_scale = self.encoder(image, digit).chunk(2, -1)
            pyro.sample("style", dist.Normal(loc, log_scale.exp()).to_event(1))
