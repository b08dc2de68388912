# pyright: reportMissingImports=false
"""NumPyro's steps: a jitted update in a Python loop, and a scan of many. To be imported where NumPyro is."""

from collections.abc import Callable, Sequence
from typing import Any
from unittest import mock

import jax
import jax.numpy as jnp
import numpyro
import torch
from numpyro import handlers
from numpyro.infer import ELBO, SVI
from torch import nn

from .speed_pair import Run, SpeedPair

__all__ = ["SCANNED", "EnumeratedELBO", "given_noise", "linear", "loop", "scan"]

SCANNED = 500
"""Steps in one call of a scan."""


def linear(name: str, layer: nn.Linear) -> Callable[[Any], Any]:
    """A layer with the weights of one of torch's as its parameters, stored (inputs, outputs) as is usual in JAX."""
    weight = numpyro.param(f"{name}.weight", jnp.array(layer.weight.detach().T.contiguous().numpy()))
    bias = numpyro.param(f"{name}.bias", jnp.array(layer.bias.detach().numpy()))
    return lambda value: value @ weight + bias


class EnumeratedELBO(ELBO):
    """The bound with a digit summed out, in one pass over an axis of all digits: NumPyro's own needs funsor.

    Model and guide describe the rest given every digit, each log probability (digits, data); the guide also gives
    the site ``log_q``, that of each digit, and the digit's prior is uniform with minus log probability ``log_digits``.
    """

    def __init__(self, log_digits: float) -> None:
        super().__init__()
        self.log_digits = log_digits

    def loss(self, rng_key: Any, param_map: Any, model: Any, guide: Any, *args: Any, **kwargs: Any) -> Any:
        """Minus the bound, summed over the data."""
        with handlers.substitute(data=param_map):
            drawn = handlers.trace(handlers.seed(guide, rng_key)).get_trace(*args, **kwargs)
            scored = handlers.trace(handlers.replay(model, drawn)).get_trace(*args, **kwargs)
        log_q = drawn["log_q"]["value"]
        free_energy = _log_prob(drawn) - _log_prob(scored) + log_q + self.log_digits
        return (jnp.exp(log_q) * free_energy).sum()


def _log_prob(trace: Any) -> Any:
    return sum(site["fn"].log_prob(site["value"]) for site in trace.values() if site["type"] == "sample")


def loop(pair: SpeedPair) -> Run:
    """One call of the jitted update a step."""
    svi, state, data = _start(pair)
    update = jax.jit(svi.update)

    def run(steps: int) -> Sequence[Any]:
        nonlocal state
        losses = []
        for _ in range(steps):
            state, loss = update(state, *data)
            losses.append(loss)
        jax.block_until_ready(state)
        return losses

    return run


def scan(pair: SpeedPair) -> Run:
    """Steps by the ``SCANNED``, each lot in one call, and the rest in another, which is compiled for its number."""
    svi, state, data = _start(pair)

    def scanned(state: Any, data: Any, steps: int) -> Any:
        return jax.lax.scan(lambda carried, _: svi.update(carried, *data), state, None, length=steps)

    compiled = jax.jit(scanned, static_argnums=2)

    def run(steps: int) -> Sequence[Any]:
        nonlocal state
        losses = []
        for length in [SCANNED] * (steps // SCANNED) + [steps % SCANNED] * (steps % SCANNED > 0):
            state, some = compiled(state, data, length)
            losses.append(some)
        jax.block_until_ready(state)
        return losses

    return run


def given_noise(pair: SpeedPair, scanned: bool = False) -> Run:
    """The same updates with noise of torch's generator, which is drawn as a step in torch would draw it."""
    svi, state, data = _start(pair)
    shapes = pair.numpyro().noise

    def update(state: Any, noise: list[Any]) -> Any:
        left = list(noise)

        def normal(_key: Any, shape: tuple[int, ...] = (), dtype: Any = None) -> Any:  # noqa: ARG001
            return left.pop(0).reshape(shape)

        with mock.patch("jax.random.normal", normal):
            updated = svi.update(state, *data)
        if left:
            raise ValueError(f"pair {pair.name!r} left {len(left)} of {len(noise)} noise tensors undrawn in NumPyro.")
        return updated

    compiled = jax.jit(update)

    def run(steps: int) -> Sequence[Any]:
        nonlocal state
        noise = [[jnp.array(torch.randn(shape).numpy()) for shape in shapes] for _ in range(steps)]
        if scanned:
            stacked = [jnp.stack(one) for one in zip(*noise, strict=True)]
            state, losses = jax.lax.scan(update, state, stacked)
            return losses
        losses = []
        for one in noise:
            state, loss = compiled(state, one)
            losses.append(loss)
        return losses

    return run


def _start(pair: SpeedPair) -> tuple[SVI, Any, list[Any]]:
    program = pair.numpyro()
    data = [jnp.array(tensor.numpy()) for tensor in pair.data.values()]
    svi = SVI(program.model, program.guide, numpyro.optim.Adam(pair.rate), program.loss)
    return svi, svi.init(jax.random.key(0), *data), data
