r"""Bernoulli pixels that may be grey:  -log p(x | logits) = softplus(logits) - x logits,  x in [0, 1]."""

import pyro.distributions as dist
from pyro.distributions import constraints
from torch import Tensor
from torch.nn.functional import softplus

__all__ = ["GreyBernoulli"]


class GreyBernoulli(dist.Bernoulli):
    r"""The Bernoulli distribution, whose log-probability is also defined between 0 and 1.

    At 0 and 1 it is Bernoulli's; between them minus the energy is the cross-entropy, linear in x, which is no
    normalised density on [0, 1]. Values outside [0, 1] are refused by Pyro's validation.

    Example:
        >>> import torch
        >>> pixels = GreyBernoulli(logits=torch.tensor(2.0))
        >>> pixels.log_prob(torch.tensor([0.0, 0.5, 1.0]))
        tensor([-2.1269, -1.1269, -0.1269])
    """

    support = constraints.unit_interval

    def log_prob(self, value: Tensor) -> Tensor:
        """x logits - softplus(logits), in nats."""
        if self._validate_args:
            self._validate_sample(value)
        return value * self.logits - softplus(self.logits)
