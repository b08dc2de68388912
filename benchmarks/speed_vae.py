# pyright: reportMissingImports=false
r"""The VAE of Kingma and Welling (2014), 784-400-(50, 50) and 50-400-784 with softplus between, at a batch of 256."""

from typing import Any

import pyro
import pyro.distributions as dist
import torch
from pyro.infer import JitTrace_ELBO, Trace_ELBO
from torch import Tensor, nn
from torch.nn import functional as F

from .speed_pair import HandWritten, JaxProgram, SpeedPair, layer

__all__ = ["binary_images", "vae"]

PIXELS, HIDDEN, LATENTS, BATCH = 784, 400, 50, 256


def vae(batch: int = BATCH) -> SpeedPair:
    """The sizes of Pyro's example ``vae.py``; the images are random."""
    image = binary_images(batch)
    return SpeedPair(
        name=f"VAE {PIXELS}-{HIDDEN}-{LATENTS}, batch {batch}",
        words="Trace_ELBO with one draw, softplus, Bernoulli pixels, the same random images at every step.",
        data={"image": image},
        programs=_programs,
        objective=Trace_ELBO,
        traced_objective=lambda: JitTrace_ELBO(ignore_jit_warnings=True),
        by_hand={"by hand": lambda: _by_hand(image)},
        numpyro=lambda: _numpyro(batch),
        products={
            "as written": [
                *layer(batch, PIXELS, HIDDEN, moves_input=False),
                *layer(batch, HIDDEN, 2 * LATENTS),
                *layer(batch, LATENTS, HIDDEN),
                *layer(batch, HIDDEN, PIXELS),
            ]
        },
        mixed=True,
    )


def binary_images(batch: int) -> Tensor:
    """Seeded pixels, of which a fifth are on, (batch, 784)."""
    return (torch.rand(batch, PIXELS, generator=torch.Generator().manual_seed(0)) < 0.2).float()


class _Encoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.moments = nn.Linear(PIXELS, HIDDEN), nn.Linear(HIDDEN, 2 * LATENTS)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        loc, log_scale = self.moments(F.softplus(self.first(image))).chunk(2, -1)
        return loc, log_scale


class _Decoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.logits = nn.Linear(LATENTS, HIDDEN), nn.Linear(HIDDEN, PIXELS)

    def forward(self, code: Tensor) -> Tensor:
        return self.logits(F.softplus(self.first(code)))


class _Model(nn.Module):
    def __init__(self, decoder: nn.Module) -> None:
        super().__init__()
        self.decoder = decoder

    def forward(self, image: Tensor) -> None:
        pyro.module("decoder", self.decoder)
        with pyro.plate("data", len(image)):
            code = pyro.sample("code", dist.Normal(image.new_zeros(LATENTS), 1.0).to_event(1))
            pyro.sample("image", dist.Bernoulli(logits=self.decoder(code)).to_event(1), obs=image)


class _Guide(nn.Module):
    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, image: Tensor) -> None:
        pyro.module("encoder", self.encoder)
        with pyro.plate("data", len(image)):
            loc, log_scale = self.encoder(image)
            pyro.sample("code", dist.Normal(loc, log_scale.exp()).to_event(1))


def _networks() -> tuple[_Encoder, _Decoder]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return _Encoder(), _Decoder()


def _programs() -> tuple:
    encoder, decoder = _networks()
    return _Model(decoder), _Guide(encoder)


def _by_hand(image: Tensor) -> HandWritten:
    encoder, decoder = _networks()

    def loss() -> Tensor:
        loc, log_scale = (part.float() for part in encoder(image))
        noise = torch.randn(loc.shape)
        code = loc + log_scale.exp() * noise
        logits = decoder(code).float()
        kl = 0.5 * (code.square().sum() - noise.square().sum()) - log_scale.sum()
        return kl + (F.softplus(logits) - image * logits).sum()

    return HandWritten([*encoder.parameters(), *decoder.parameters()], loss)


def _numpyro(batch: int) -> JaxProgram:
    import jax
    import jax.numpy as jnp
    import numpyro
    import numpyro.distributions as dist
    from numpyro.infer import Trace_ELBO

    from .speed_numpyro import linear

    encoder, decoder = _networks()

    def model(image: Any) -> None:
        first, logits = linear("decoder.first", decoder.first), linear("decoder.logits", decoder.logits)
        with numpyro.plate("data", len(image)):
            code = numpyro.sample("code", dist.Normal(jnp.zeros(LATENTS), 1.0).to_event(1))
            pixels = dist.Bernoulli(logits=logits(jax.nn.softplus(first(code))))
            numpyro.sample("image", pixels.to_event(1), obs=image)

    def guide(image: Any) -> None:
        first, moments = linear("encoder.first", encoder.first), linear("encoder.moments", encoder.moments)
        loc, log_scale = jnp.split(moments(jax.nn.softplus(first(image))), 2, axis=-1)
        with numpyro.plate("data", len(image)):
            numpyro.sample("code", dist.Normal(loc, jnp.exp(log_scale)).to_event(1))

    return JaxProgram(model, guide, Trace_ELBO(), [(batch, LATENTS)])
