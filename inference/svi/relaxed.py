r"""The ELBO with one-hot latents relaxed to points of the simplex:  y = softmax((logits + Gumbel noise) / tau)."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import pyro
import pyro.distributions as dist
import pyro.poutine as poutine
import torch
from pyro.distributions.util import scale_and_mask
from pyro.poutine.messenger import Messenger
from torch import Tensor
from torch.distributions import kl_divergence

from ..energy.structure import sample_sites

__all__ = ["Relaxed"]


@dataclass(frozen=True)
class Relaxed:
    r"""An objective of ``fit``: minus an ELBO that differentiates through relaxed draws of one-hot latents.

    .. math:: E_{\tilde y} \big[ -\log p(x, z \mid \tilde y) + \log q(z \mid \tilde y) \big]
              + KL\big( q(y \mid x), \, p(y) \big)

    in nats, with y~ from the concrete distribution of q at the temperature tau, and the divergence of the discrete
    distributions in closed form. It is biased: the model sees mixtures of categories, which no draw of y is, the less
    so the lower tau, and the noisier. Every latent that is a ``OneHotCategorical`` in model and guide is relaxed;
    continuous ones z are reparameterised.

    Args:
        temperature: tau, or a function of the progress in [0, 1] that gives it.

    Raises:
        ValueError: if the guide has no one-hot site, or one whose site in the model is none; if tau is not positive.

    Reference: E. Jang, S. Gu, B. Poole (2017), Categorical reparameterization with Gumbel-softmax, equations 2 and 3,
    https://arxiv.org/abs/1611.01144; C. Maddison, A. Mnih, Y. W. Teh (2017), The concrete distribution,
    https://arxiv.org/abs/1611.00712
    """

    temperature: float | Callable[[float], float] = 0.5

    def __post_init__(self) -> None:
        if not (tau := self.numbers(0.0)["tau"]) > 0:
            raise ValueError(f"temperature must be positive, got {tau}.")

    def __call__(
        self,
        model: Callable,
        guide: Callable,
        *,
        progress: float = 1.0,
        tau: float | Tensor | None = None,
        **batch: Any,
    ) -> Tensor:
        """Minus the relaxed ELBO of a batch, a scalar with gradient; ``tau`` in place of that at the progress."""
        tau = self.numbers(progress)["tau"] if tau is None else tau
        relax = _Relax(tau)
        with pyro.validation_enabled(False):  # a point of the simplex is no value of a one-hot site
            with relax:
                q = poutine.trace(guide).get_trace(**batch)
            p = poutine.trace(poutine.replay(model, trace=q)).get_trace(**batch)
            if not relax.exact:
                raise ValueError(
                    f"the guide has no OneHotCategorical site to be relaxed, its sites are {list(sample_sites(q))}: "
                    f"write the discrete latent as one in model and guide, or take MonteCarlo(leave_one_out, draws=4)."
                )
            return _divergence(p, relax.exact) + _log_prob(q, relax.exact) - _log_prob(p, relax.exact)

    def numbers(self, progress: float) -> dict[str, float]:
        """What depends on the progress; a training computes it before each step."""
        return {"tau": float(self.temperature(progress) if callable(self.temperature) else self.temperature)}


class _Relax(Messenger):
    """Draws one-hot latents from the concrete distribution, and keeps the discrete ones."""

    def __init__(self, tau: float | Tensor) -> None:
        super().__init__()
        self.tau, self.exact = tau, {}

    def _pyro_sample(self, msg: Any) -> None:
        base = _unwrapped(msg["fn"])
        if isinstance(base, dist.OneHotCategorical) and not msg["is_observed"]:
            self.exact[msg["name"]] = base
            msg["fn"] = dist.RelaxedOneHotCategorical(torch.as_tensor(self.tau), logits=base.logits)


def _unwrapped(fn: Any) -> Any:
    return fn.base_dist if isinstance(fn, dist.MaskedDistribution) else fn


def _divergence(p: poutine.Trace, exact: Mapping[str, Any]) -> Tensor:
    """KL(q, p) of the relaxed sites, in closed form."""
    sites, total = sample_sites(p), torch.zeros(())
    for name, of_guide in exact.items():
        node = sites[name]
        of_model = _unwrapped(node["fn"])
        if not isinstance(of_model, dist.OneHotCategorical):
            raise ValueError(
                f"the site {name!r} is a OneHotCategorical in the guide and {type(of_model).__name__} in the model: "
                f"write it as one in both."
            )
        total = total + scale_and_mask(kl_divergence(of_guide, of_model), node["scale"], node["mask"]).sum()
    return total


def _log_prob(trace: poutine.Trace, without: Mapping[str, Any]) -> Tensor:
    return torch.as_tensor(trace.log_prob_sum(lambda name, _: name not in without))
