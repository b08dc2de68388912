"""Two small systems on digits whose bounds have exact gradients: a category of ten, and a code of one dimension."""

import itertools
import math
from collections.abc import Callable
from typing import NamedTuple

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn

from pyrometer.data import digits
from pyrometer.networks import mlp

__all__ = ["CategoryModel", "CodeModel", "System", "category", "code"]

NODES = torch.linspace(-8.5, 8.5, 500).double()
"""Of the trapezoidal rule over the noise of each draw: logarithms of mean weights are too sharp for fewer."""


class System(NamedTuple):
    """A pair, its images, and for S draws all their values (S, ways), with log p and log q, and the ways' log chances.

    ``ways`` gives (log_p, log_q, log_chance), each (S, ways, N) or broadcastable to that, differentiable in the
    parameters, through the draws where these are reparameterised. ``prior`` is a guide that draws from the prior.
    """

    model: nn.Module
    guide: nn.Module
    prior: nn.Module
    image: Tensor
    ways: Callable[[int, slice], tuple[Tensor, Tensor, Tensor]]


class CategoryModel(nn.Module):
    """kind ~ Cat(1/10), pixels ~ Bernoulli(sigmoid(W kind + b))."""

    def __init__(self, pixels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(0.3 * torch.randn(10, pixels).double())
        self.bias = nn.Parameter(torch.zeros(pixels).double())

    def forward(self, image: Tensor) -> None:
        """The program."""
        with pyro.plate("data", len(image)):
            kind = pyro.sample("kind", dist.OneHotCategorical(self.weight.new_ones(10) / 10))
            pyro.sample("image", dist.Bernoulli(logits=kind @ self.weight + self.bias).to_event(1), obs=image)


class CategoryGuide(nn.Module):
    """q(kind | image) = softmax(V image + c), or the prior."""

    def __init__(self, pixels: int, prior: bool = False) -> None:
        super().__init__()
        self.logits = nn.Linear(pixels, 10).double()
        self.prior = prior

    def forward(self, image: Tensor) -> None:
        """The program."""
        logits = torch.zeros(len(image), 10).double() if self.prior else self.logits(image)
        with pyro.plate("data", len(image)):
            pyro.sample("kind", dist.OneHotCategorical(logits=logits))


class CodeModel(nn.Module):
    """code ~ N(0, 1), pixels ~ Bernoulli(sigmoid(f(code)))."""

    def __init__(self, pixels: int) -> None:
        super().__init__()
        self.decoder = mlp(1, 16, pixels).double()

    def forward(self, image: Tensor) -> None:
        """The program."""
        with pyro.plate("data", len(image)):
            z = pyro.sample("code", dist.Normal(torch.zeros(1).double(), 1.0).to_event(1))
            pyro.sample("image", dist.Bernoulli(logits=self.decoder(z)).to_event(1), obs=image)


class CodeGuide(nn.Module):
    """q(code | image) = N(V image + c, s^2), or the prior."""

    def __init__(self, pixels: int, prior: bool = False) -> None:
        super().__init__()
        self.moments = nn.Linear(pixels, 2).double()
        self.prior = prior

    def forward(self, image: Tensor) -> None:
        """The program."""
        loc, log_scale = self.moments(image).chunk(2, -1)
        if self.prior:
            loc, log_scale = torch.zeros_like(loc), torch.zeros_like(loc)
        with pyro.plate("data", len(image)):
            pyro.sample("code", dist.Normal(loc, log_scale.exp()).to_event(1))


def category(seed: int, images: int = 20) -> System:
    """The category of ten, summed over all ten values of every draw."""
    image = _images(seed, images)
    pixels = image.shape[1]
    model, guide = CategoryModel(pixels), CategoryGuide(pixels)

    def ways(draws: int, rows: slice) -> tuple[Tensor, Tensor, Tensor]:
        log_q = guide.logits(image[rows]).log_softmax(-1).T  # (10, N)
        logits = (model.weight + model.bias).unsqueeze(1)
        log_p = dist.Bernoulli(logits=logits).log_prob(image[rows]).sum(-1) - math.log(10)
        values = torch.tensor(list(itertools.product(range(10), repeat=draws))).T
        return log_p[values], log_q[values], log_q[values].sum(0)

    return System(model, guide, CategoryGuide(pixels, prior=True), image, ways)


def code(seed: int, images: int = 20) -> System:
    """The code of one dimension, integrated over the noise of every draw."""
    image = _images(seed, images)
    pixels = image.shape[1]
    model, guide = CodeModel(pixels), CodeGuide(pixels)
    log_mass = dist.Normal(0.0, 1.0).log_prob(NODES).log_softmax(-1)

    def ways(draws: int, rows: slice) -> tuple[Tensor, Tensor, Tensor]:
        loc, log_scale = guide.moments(image[rows]).chunk(2, -1)
        z = (loc + log_scale.exp() * NODES).T  # (nodes, N)
        log_p = dist.Normal(0.0, 1.0).log_prob(z)
        log_p = log_p + dist.Bernoulli(logits=model.decoder(z.unsqueeze(-1))).log_prob(image[rows]).sum(-1)
        log_q = dist.Normal(loc.T, log_scale.exp().T).log_prob(z)
        values = torch.cartesian_prod(*[torch.arange(len(NODES))] * draws).reshape(-1, draws).T
        return log_p[values], log_q[values], log_mass[values].sum(0).unsqueeze(-1)

    return System(model, guide, CodeGuide(pixels, prior=True), image, ways)


def _images(seed: int, count: int) -> Tensor:
    """Digits of 8 x 8, each pixel drawn once with its grey value as probability."""
    generator = torch.Generator().manual_seed(seed)
    grey = digits().image.flatten(1).double()
    return torch.bernoulli(grey[torch.randperm(len(grey), generator=generator)[:count]], generator=generator)
