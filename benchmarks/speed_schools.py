# pyright: reportMissingImports=false
r"""Eight schools, non-centred: mu ~ N(0, 10), tau ~ HalfCauchy(25), eta ~ N(0, 1), y ~ N(mu + tau eta, sigma)."""

import math
from typing import Any

import pyro
import pyro.distributions as dist
import torch
from pyro.infer import JitTrace_ELBO, Trace_ELBO
from pyro.infer.autoguide import AutoNormal, init_to_value
from torch import Tensor
from torch.nn import functional as F

from .speed_pair import HandWritten, JaxProgram, SpeedPair

__all__ = ["eight_schools"]

EFFECTS = [28.0, 8.0, -3.0, 7.0, -1.0, 1.0, 18.0, 12.0]
ERRORS = [15.0, 10.0, 16.0, 11.0, 9.0, 11.0, 10.0, 18.0]
SCALE = 0.1
"""The guide's initial scale of every latent, where its locations are 0, or 1 for tau."""


def eight_schools() -> SpeedPair:
    """Rubin's data of 1981, as in Gelman et al., Bayesian data analysis, section 5.5."""
    return SpeedPair(
        name="Eight schools, AutoNormal",
        words="Non-centred, ten latents, Trace_ELBO with one draw, the eight data at every step.",
        data={"y": torch.tensor(EFFECTS), "sigma": torch.tensor(ERRORS)},
        programs=_programs,
        objective=Trace_ELBO,
        traced_objective=lambda: JitTrace_ELBO(ignore_jit_warnings=True),
        by_hand={"by hand": _by_hand},
        numpyro=_numpyro,
        rate=0.01,
    )


def _model(y: Tensor, sigma: Tensor) -> None:
    mu = pyro.sample("mu", dist.Normal(0.0, 10.0))
    tau = pyro.sample("tau", dist.HalfCauchy(25.0))
    with pyro.plate("schools", len(y)):
        eta = pyro.sample("eta", dist.Normal(0.0, 1.0))
        pyro.sample("y", dist.Normal(mu + tau * eta, sigma), obs=y)


def _programs() -> tuple:
    start = {"mu": torch.tensor(0.0), "tau": torch.tensor(1.0), "eta": torch.zeros(8)}
    return _model, AutoNormal(_model, init_loc_fn=init_to_value(values=start), init_scale=SCALE)


def _by_hand() -> HandWritten:
    y, sigma = torch.tensor(EFFECTS), torch.tensor(ERRORS)
    # mu, log tau, eta
    loc = torch.zeros(10, requires_grad=True)
    raw_scale = torch.full((10,), math.log(math.expm1(SCALE)), requires_grad=True)
    prior_precision = torch.tensor([0.01, 0.0, *[1.0] * 8])
    # Of each normal prior and likelihood minus of q, the constant; and of tau's, with its scale and the change to log.
    constant = math.log(10) - math.log(2 / (25 * math.pi)) - 0.5 * math.log(2 * math.pi)
    constant += sigma.log().sum().item() + 4 * math.log(2 * math.pi)

    def loss() -> Tensor:
        scale, noise = F.softplus(raw_scale), torch.randn(10)
        z = loc + scale * noise
        mu, log_tau, eta = z[0], z[1], z[2:]
        tau = log_tau.exp()
        residual = (y - mu - tau * eta) / sigma
        squares = z.square() @ prior_precision + residual.square().sum() - noise.square().sum()
        return 0.5 * squares + (tau / 25).square().log1p() - log_tau - scale.log().sum() + constant

    return HandWritten([loc, raw_scale], loss)


def _numpyro() -> JaxProgram:
    import jax.numpy as jnp
    import numpyro
    import numpyro.distributions as dist
    from numpyro.infer import Trace_ELBO
    from numpyro.infer.autoguide import AutoNormal
    from numpyro.infer.initialization import init_to_value

    def model(y: Any, sigma: Any) -> None:
        mu: Any = numpyro.sample("mu", dist.Normal(0.0, 10.0))
        tau: Any = numpyro.sample("tau", dist.HalfCauchy(25.0))
        with numpyro.plate("schools", len(y)):
            eta: Any = numpyro.sample("eta", dist.Normal(0.0, 1.0))
            numpyro.sample("y", dist.Normal(mu + tau * eta, sigma), obs=y)

    start = {"mu": 0.0, "tau": 1.0, "eta": jnp.zeros(8)}
    guide = AutoNormal(model, init_loc_fn=init_to_value(values=start), init_scale=SCALE)
    return JaxProgram(model, guide, Trace_ELBO(), [(), (), (8,)])
