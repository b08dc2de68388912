# pyright: reportMissingImports=false
r"""A Gaussian mixture of K = 3: w ~ Dirichlet(1), mu_k ~ N(0, 5), log s_k ~ N(0, 1), x_n ~ sum_k w_k N(mu_k, s_k)."""

import math
from typing import Any

import pyro
import pyro.distributions as dist
import pyro.poutine as poutine
import torch
from pyro.infer import JitTraceEnum_ELBO, TraceEnum_ELBO
from pyro.infer.autoguide import AutoNormal, init_to_value
from torch import Tensor
from torch.nn import functional as F

from .speed_pair import HandWritten, JaxProgram, SpeedPair

__all__ = ["mixture"]

COMPONENTS = 3
DATA = 500
SCALE = 0.1
LOCATIONS = [-2.0, 0.5, 2.0]
"""The guide's initial locations of mu; those of w and s are 1/3 and 1."""


def mixture() -> SpeedPair:
    """500 simulated data, the assignment of each summed out."""
    return SpeedPair(
        name=f"Gaussian mixture, N = {DATA}, AutoNormal",
        words=f"{COMPONENTS} components in one dimension, TraceEnum_ELBO sums out the assignments, all data each step.",
        data={"x": _data()},
        programs=_programs,
        objective=lambda: TraceEnum_ELBO(max_plate_nesting=1),
        traced_objective=lambda: JitTraceEnum_ELBO(max_plate_nesting=1, ignore_jit_warnings=True),
        by_hand={"by hand": _by_hand},
        numpyro=_numpyro,
        rate=0.01,
    )


def _data() -> Tensor:
    generator = torch.Generator().manual_seed(0)
    component = torch.randint(COMPONENTS, (DATA,), generator=generator)
    noise = torch.randn(DATA, generator=generator)
    return torch.tensor([-3.0, 0.0, 4.0])[component] + torch.tensor([0.7, 1.0, 1.5])[component] * noise


def _model(x: Tensor) -> None:
    weights = pyro.sample("weights", dist.Dirichlet(torch.ones(COMPONENTS)))
    with pyro.plate("components", COMPONENTS):
        locs = pyro.sample("locs", dist.Normal(0.0, 5.0))
        scales = pyro.sample("scales", dist.LogNormal(0.0, 1.0))
    with pyro.plate("data", len(x)):
        component = pyro.sample("component", dist.Categorical(weights), infer={"enumerate": "parallel"})
        pyro.sample("x", dist.Normal(locs[component], scales[component]), obs=x)


def _programs() -> tuple:
    start = {
        "weights": torch.full((COMPONENTS,), 1 / COMPONENTS),
        "locs": torch.tensor(LOCATIONS),
        "scales": torch.ones(COMPONENTS),
    }
    shown = poutine.block(_model, hide=["component", "x"])
    return _model, AutoNormal(shown, init_loc_fn=init_to_value(values=start), init_scale=SCALE)


def _by_hand() -> HandWritten:
    x = _data()
    # The two sticks that w is broken from, mu, log s. Equal weights are sticks of 0 with these offsets.
    offset = torch.tensor([math.log(2.0), 0.0])
    loc = torch.tensor([0.0, 0.0, *LOCATIONS, 0.0, 0.0, 0.0], requires_grad=True)
    raw_scale = torch.full((8,), math.log(math.expm1(SCALE)), requires_grad=True)
    prior_precision = torch.tensor([0.0, 0.0, *[0.04] * 3, *[1.0] * 3])
    # Dirichlet(1) has density 2; two sticks have no prior of their own, so two of q's normal constants remain.
    constant = 3 * math.log(5) - math.log(2) - math.log(2 * math.pi) + DATA * 0.5 * math.log(2 * math.pi)

    def loss() -> Tensor:
        scale, noise = F.softplus(raw_scale), torch.randn(8)
        z = loc + scale * noise
        stick = z[:2] - offset
        broken, rest = F.logsigmoid(stick), F.logsigmoid(-stick)
        log_weight = torch.stack([broken[0], rest[0] + broken[1], rest[0] + rest[1]])
        log_slope = rest.sum() + log_weight[:2].sum()
        log_s = z[5:]
        residual = (x - z[2:5, None]) * (-log_s).exp()[:, None]
        log_joint = (log_weight - log_s)[:, None] - 0.5 * residual.square()
        squares = z.square() @ prior_precision - noise.square().sum()
        return 0.5 * squares - log_joint.logsumexp(0).sum() - log_slope - scale.log().sum() + constant

    return HandWritten([loc, raw_scale], loss)


def _numpyro() -> JaxProgram:
    import jax.numpy as jnp
    import numpyro
    import numpyro.distributions as dist
    from jax.scipy.special import logsumexp
    from numpyro.infer import Trace_ELBO
    from numpyro.infer.autoguide import AutoNormal
    from numpyro.infer.initialization import init_to_value

    def model(x: Any) -> None:
        weights: Any = numpyro.sample("weights", dist.Dirichlet(jnp.ones(COMPONENTS)))
        with numpyro.plate("components", COMPONENTS):
            locs: Any = numpyro.sample("locs", dist.Normal(0.0, 5.0))
            scales: Any = numpyro.sample("scales", dist.LogNormal(0.0, 1.0))
        # NumPyro's own enumeration needs funsor; this sum is what it would come to.
        log_joint = jnp.log(weights)[:, None] + dist.Normal(locs[:, None], scales[:, None]).log_prob(x)
        with numpyro.plate("data", len(x)):
            numpyro.factor("x", logsumexp(log_joint, axis=0))

    start = {
        "weights": jnp.full(COMPONENTS, 1 / COMPONENTS),
        "locs": jnp.array(LOCATIONS),
        "scales": jnp.ones(COMPONENTS),
    }
    guide = AutoNormal(model, init_loc_fn=init_to_value(values=start), init_scale=SCALE)
    return JaxProgram(model, guide, Trace_ELBO(), [(2,), (3,), (3,)])
