"""Shapes of networks in a pair: normalisation, dropout, convolutions, recurrence, an enumerated digit, two streams."""

from collections.abc import Callable

import pyro
import pyro.distributions as dist
import torch
from pyro.infer import TraceEnum_ELBO
from torch import Tensor, nn

from pyrometer.inference.svi import SemiSupervised

from .exactness_case import Case

__all__ = ["NETWORKS", "Decoder", "Encoder", "SemiDecoder", "SemiEncoder"]

PIXELS, CODES, DIGITS, ROWS = 6, 2, 3, 11


class Decoder(nn.Module):
    """p(z) p(image | z), a network with one layer of one's choice in the middle."""

    def __init__(self, middle: nn.Module) -> None:
        super().__init__()
        self.network = nn.Sequential(nn.Linear(CODES, 5), middle, nn.Softplus(), nn.Linear(5, PIXELS))

    def forward(self, image: Tensor) -> None:
        """The program."""
        with pyro.plate("data", len(image)):
            z = pyro.sample("z", dist.Normal(torch.zeros(CODES), 1.0).to_event(1))
            pyro.sample("image", dist.Bernoulli(logits=self.network(z)).to_event(1), obs=image)


class Encoder(nn.Module):
    """q(z | image), likewise."""

    def __init__(self, middle: nn.Module) -> None:
        super().__init__()
        self.network = nn.Sequential(nn.Linear(PIXELS, 5), middle, nn.Tanh(), nn.Linear(5, 2 * CODES))

    def forward(self, image: Tensor) -> None:
        """The program."""
        with pyro.plate("data", len(image)):
            loc, log_scale = self.network(image).chunk(2, -1)
            pyro.sample("z", dist.Normal(loc, log_scale.exp()).to_event(1))


class Convolutions(nn.Module):
    """q(z | image), of convolutions over a line of pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.network = nn.Sequential(nn.Conv1d(1, 3, 3), nn.MaxPool1d(2), nn.Flatten(), nn.ReLU(), nn.Linear(6, 4))

    def forward(self, image: Tensor) -> None:
        """The program."""
        with pyro.plate("data", len(image)):
            loc, log_scale = self.network(image[:, None]).chunk(2, -1)
            pyro.sample("z", dist.Normal(loc, log_scale.exp()).to_event(1))


class Recurrent(nn.Module):
    """q(z_1..T | y) of a GRU that reads the series; z_t given z_t-1."""

    def __init__(self) -> None:
        super().__init__()
        self.reader, self.last = nn.GRU(1, 4, batch_first=True), nn.Linear(5, 2)

    def forward(self, y: Tensor) -> None:
        """The program."""
        read, _ = self.reader(y[..., None])
        with pyro.plate("data", len(y)):
            z = y.new_zeros(len(y))
            for t in pyro.markov(range(y.shape[1])):
                loc, log_scale = self.last(torch.cat([read[:, t], z[:, None]], -1)).unbind(-1)
                z = pyro.sample(f"z_{t}", dist.Normal(loc, log_scale.exp()))


class Chain(nn.Module):
    """z_t ~ N(tanh(w z_t-1), 0.5), y_t ~ N(z_t, 0.3)."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(0.8))

    def forward(self, y: Tensor) -> None:
        """The program."""
        with pyro.plate("data", len(y)):
            z = y.new_zeros(len(y))
            for t in pyro.markov(range(y.shape[1])):
                z = pyro.sample(f"z_{t}", dist.Normal((self.weight * z).tanh(), 0.5))
                pyro.sample(f"y_{t}", dist.Normal(z, 0.3), obs=y[:, t])


class SemiDecoder(nn.Module):
    """p(digit) p(style) p(image | digit, style), whose first layer is linear over both."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(DIGITS + CODES, 5), nn.Linear(5, PIXELS)

    def forward(self, image: Tensor, digit: Tensor | None = None) -> None:
        """The program."""
        with pyro.plate("data", len(image)):
            style = pyro.sample("style", dist.Normal(torch.zeros(CODES), 1.0).to_event(1))
            digit = pyro.sample("digit", dist.OneHotCategorical(torch.ones(DIGITS)), obs=digit)
            shape = torch.broadcast_shapes(digit.shape[:-1], style.shape[:-1])
            joined = torch.cat([style.expand(*shape, -1), digit.expand(*shape, -1)], -1)
            logits = self.last(self.first(joined).relu())
            pyro.sample("image", dist.Bernoulli(logits=logits).to_event(1), obs=image)


class SemiEncoder(nn.Module):
    """q(digit | image) q(style | image, digit)."""

    def __init__(self) -> None:
        super().__init__()
        self.digits, self.styles = nn.Linear(PIXELS, DIGITS), nn.Linear(PIXELS + DIGITS, 2 * CODES)

    def forward(self, image: Tensor, digit: Tensor | None = None) -> None:
        """The program."""
        with pyro.plate("data", len(image)):
            if digit is None:
                digits = dist.OneHotCategorical(logits=self.digits(image))
                digit = pyro.sample("digit", digits, infer={"enumerate": "parallel"})
            shape = torch.broadcast_shapes(digit.shape[:-1], image.shape[:-1])
            joined = torch.cat([image.expand(*shape, -1), digit.expand(*shape, -1)], -1)
            loc, log_scale = self.styles(joined).chunk(2, -1)
            pyro.sample("style", dist.Normal(loc, log_scale.exp()).to_event(1))

    def classify(self, image: Tensor) -> Tensor:
        """The most probable digits."""
        return self.digits(image).argmax(-1)


def images(rows: int = ROWS) -> Tensor:
    """Binary images."""
    return torch.bernoulli(torch.full((rows, PIXELS), 0.4))


def _vae(decoder: nn.Module, encoder: nn.Module) -> Case:
    return Case(Decoder(decoder), Encoder(encoder), {"image": images()}, {"batch_size": 4})


def _series() -> Case:
    return Case(Chain(), Recurrent(), {"y": torch.randn(ROWS, 4).cumsum(-1)}, {"batch_size": None})


def _semi() -> Case:
    digits = torch.eye(DIGITS)[torch.arange(7) % DIGITS]
    data = {"unlabelled": {"image": images()}, "labelled": {"image": images(7), "digit": digits}}
    objective = SemiSupervised(labelled_fraction=7 / 18, self_training=lambda progress: min(1.0, 2 * progress))
    return Case(SemiDecoder(), SemiEncoder(), data, {"objective": objective, "batch_size": 4})


NETWORKS: dict[str, Callable[[], Case]] = {
    "VAE": lambda: _vae(nn.Identity(), nn.Identity()),
    "BatchNorm": lambda: _vae(nn.BatchNorm1d(5), nn.BatchNorm1d(5)),
    "dropout": lambda: _vae(nn.Dropout(0.3), nn.Dropout(0.2)),
    "LayerNorm": lambda: _vae(nn.LayerNorm(5), nn.LayerNorm(5)),
    "convolutions": lambda: Case(Decoder(nn.Identity()), Convolutions(), {"image": images()}, {"batch_size": 4}),
    "GRU and a chain of latents": _series,
    "digit enumerated beside a style": lambda: Case(
        SemiDecoder(), SemiEncoder(), {"image": images()}, {"batch_size": 4, "objective": TraceEnum_ELBO()}
    ),
    "two streams, half supervised": _semi,
}
