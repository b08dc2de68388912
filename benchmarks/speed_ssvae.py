# pyright: reportMissingImports=false
"""M2 of Kingma et al. (2014) at a batch of 200 images without labels, each digit summed out."""

import math
from collections.abc import Callable
from typing import Any

import torch
from pyro.infer import JitTraceEnum_ELBO, TraceEnum_ELBO
from torch import Tensor
from torch.nn import functional as F

from .m2 import DIGITS, HIDDEN, M2, PIXELS, STYLE, M2Guide, M2Networks, Network
from .speed_pair import HandWritten, JaxProgram, SpeedPair, layer
from .speed_vae import binary_images

__all__ = ["ssvae"]

BATCH = 200


def ssvae(batch: int = BATCH) -> SpeedPair:
    """The step of a batch without labels, which is where nearly all of the time of a semi-supervised epoch goes."""
    image = binary_images(batch)
    rows = DIGITS * batch
    shared = [
        *layer(batch, PIXELS, HIDDEN, moves_input=False),
        *layer(batch, HIDDEN, DIGITS),
        *layer(rows, HIDDEN, 2 * STYLE),
        *layer(rows, HIDDEN, PIXELS),
    ]
    joined = [*layer(rows, PIXELS + DIGITS, HIDDEN, moves_input=False), *layer(rows, STYLE + DIGITS, HIDDEN)]
    split = [*layer(batch, PIXELS, HIDDEN, moves_input=False), *layer(rows, STYLE, HIDDEN)]
    return SpeedPair(
        name=f"SSVAE {PIXELS}-{HIDDEN}-({DIGITS}, {STYLE}), batch {batch}, digit enumerated",
        words="M2 on a batch without labels; TraceEnum_ELBO sums out the guide's digit, a draw of the style for each.",
        data={"image": image},
        programs=_programs,
        objective=lambda: TraceEnum_ELBO(max_plate_nesting=1),
        traced_objective=lambda: JitTraceEnum_ELBO(max_plate_nesting=1, ignore_jit_warnings=True),
        by_hand={"by hand": lambda: _by_hand(image, _joined), "by hand, factored": lambda: _by_hand(image, _split)},
        numpyro=lambda: _numpyro(batch),
        products={"as written": shared + joined, "factored": shared + split},
        mixed=True,
    )


def _networks() -> M2Networks:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return M2Networks()


def _programs() -> tuple:
    networks = _networks()
    return M2(networks.decoder), M2Guide(networks.classifier, networks.encoder)


def _joined(network: Network, value: Tensor) -> Tensor:
    """What the network gives for every digit, as written: (K, N, outputs)."""
    return network(value, torch.eye(DIGITS)[:, None])


def _split(network: Network, value: Tensor) -> Tensor:
    """The same, with the first layer's product with a one-hot vector as what it is, a row of the weights."""
    size = network.first.in_features - DIGITS
    of_value, of_digit = network.first.weight.split([size, DIGITS], 1)
    return network.last(F.softplus(F.linear(value, of_value, network.first.bias) + of_digit.T[:, None]))


def _by_hand(image: Tensor, of_every_digit: Callable[[Network, Tensor], Tensor]) -> HandWritten:
    networks = _networks()

    def loss() -> Tensor:
        log_q = networks.classifier(image).float().log_softmax(-1).T
        loc, log_scale = of_every_digit(networks.encoder, image).float().chunk(2, -1)
        noise = torch.randn(loc.shape)
        style = loc + log_scale.exp() * noise
        logits = of_every_digit(networks.decoder, style).float()
        kl = 0.5 * (style.square() - noise.square()).sum(-1) - log_scale.sum(-1)
        reconstruction = (F.softplus(logits) - image * logits).sum(-1)
        return (log_q.exp() * (kl + reconstruction + log_q)).sum() + len(image) * math.log(DIGITS)

    return HandWritten(list(networks.parameters()), loss)


def _numpyro(batch: int) -> JaxProgram:
    import jax
    import jax.numpy as jnp
    import numpyro
    import numpyro.distributions as dist

    from .speed_numpyro import EnumeratedELBO, linear

    networks = _networks()

    def network(name: str, *parts: Any) -> Any:
        shape = jnp.broadcast_shapes(*(part.shape[:-1] for part in parts))
        whole = jnp.concatenate([jnp.broadcast_to(part, (*shape, part.shape[-1])) for part in parts], -1)
        torch_network = getattr(networks, name)
        first, last = linear(f"{name}.first", torch_network.first), linear(f"{name}.last", torch_network.last)
        return last(jax.nn.softplus(first(whole)))

    every_digit = jnp.eye(DIGITS)[:, None]

    def model(image: Any) -> None:
        with numpyro.plate("digits", DIGITS, dim=-2), numpyro.plate("data", len(image), dim=-1):
            style = numpyro.sample("style", dist.Normal(jnp.zeros(STYLE), 1.0).to_event(1))
            pixels = dist.Bernoulli(logits=network("decoder", style, every_digit))
            numpyro.sample("image", pixels.to_event(1), obs=image)

    def guide(image: Any) -> None:
        log_q = jax.nn.log_softmax(network("classifier", image))
        numpyro.deterministic("log_q", log_q.T)
        loc, log_scale = jnp.split(network("encoder", image, every_digit), 2, axis=-1)
        with numpyro.plate("digits", DIGITS, dim=-2), numpyro.plate("data", len(image), dim=-1):
            numpyro.sample("style", dist.Normal(loc, jnp.exp(log_scale)).to_event(1))

    return JaxProgram(model, guide, EnumeratedELBO(math.log(DIGITS)), [(DIGITS, batch, STYLE)])
