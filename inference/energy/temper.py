r"""The same program at another temperature:  log p(x, z)  becomes  beta log p(x, z) = -beta E(x, z), in nats."""

import functools
import math
from collections.abc import Callable
from numbers import Real
from typing import Any

import torch
from pyro.distributions.torch_distribution import TorchDistribution
from torch import Tensor, nn
from torch.distributions import constraints

from .base_measure import Base, check_base, log_volume
from .structure import subsampling
from .substitute import LiftMasks, is_subsample

__all__ = ["Temper", "Tempered", "temper"]


def temper(model: Callable, beta: float | Tensor, base: Base = "lebesgue") -> Callable:
    r"""The same program, unnormalised, at inverse temperature beta, so that any algorithm of Pyro can run on it.

    .. math:: \log f_\beta(x, z) = \log m(z) - \beta E(x, z), \qquad
              F_\beta = -\tfrac{1}{\beta} \log \int f_\beta(x, z) \, dz

    in nats. A Pyro ELBO of it is -beta F_beta[q], and NUTS draws from p_beta(z given x). The measure m is, by ``base``,

    * ``"lebesgue"``: 1, so that the log-probability of every site is multiplied by beta;
    * ``"prior"``: p(z), so that only observed sites and ``pyro.factor`` are; the ELBO is then beta times that of a
      beta-VAE whose KL has the weight 1 / beta;
    * ``"uniform"``: 1 / (volume of the support of z), which must be bounded.

    Data are what the program itself observes: condition it before tempering it. So with scales and masks: the
    program's own ``poutine.scale`` belongs to the energy (with ``"prior"`` the measure of a latent is the normalised
    p(z), and its energy is what the scale adds to -log p(z)), while a plate's factor for its subsample multiplies all.
    A latent that a mask leaves out has no energy, and is averaged under its prior at every beta. For sites that
    ``TraceEnum_ELBO`` sums out this holds as it stands, because Pyro sums them without their mask. Of other masked
    latents Pyro drops the log-probability altogether: an ELBO is right where the guide has the same mask, and NUTS
    sees a latent without any density there, tempered or not.

    What the program draws by itself is untempered, so algorithms that weigh draws from the model do not apply:
    importance sampling without a guide, ``SMCFilter``, ``TraceTMC_ELBO``. The same holds for ``compute_marginals`` and
    ``sample_posterior`` of ``TraceEnum_ELBO``, which build normalised distributions of the type of each site.

    Use ``stable_enumeration`` where Pyro sums out discrete sites: its own sums underflow, the more so at high beta.

    Args:
        model: any Pyro callable.
        beta: inverse temperature, positive and finite; or a tensor of no dimension, which may need a gradient.
        base: the measure.

    Returns:
        A program with the arguments of the model. Of an ``nn.Module``, or a method of one, it is an ``nn.Module``
        that holds the original as ``model``, so that training it trains the original's weights.

    Raises:
        ValueError: if ``beta`` is not positive and finite or has dimensions, or ``base`` is unknown; when the program
            runs, if the support of a latent has no volume and ``base`` is ``"uniform"``.
        TypeError: if the model cannot be called.

    Reference: I. Higgins et al. (2017), beta-VAE, for ``"prior"``; N. Friel and A. N. Pettitt (2008), Marginal
    likelihood estimation via power posteriors.

    Example:
        >>> import pyro, pyro.distributions as dist, pyro.poutine as poutine
        >>> def model(y):
        ...     z = pyro.sample("z", dist.Normal(0.0, 2.0))
        ...     return pyro.sample("y", dist.Normal(z, 0.5), obs=y)
        >>> def log_prob(program):
        ...     given = poutine.condition(program, data={"z": torch.tensor(1.0)})
        ...     return poutine.trace(given).get_trace(torch.tensor(0.3)).log_prob_sum()
        >>> log_prob(model), log_prob(temper(model, 3.0)), log_prob(temper(model, 3.0, base="prior"))
        (tensor(-2.9429), tensor(-8.8286), tensor(-5.3545))
    """
    if not callable(model):
        raise TypeError(f"model must be a Pyro program (a callable), got {type(model).__name__}.")
    check_base(base)
    _check_beta(beta)
    handler = functools.partial(Temper, beta, base)
    if isinstance(getattr(model, "__self__", model), nn.Module):
        return _TemperedModule(model, handler)
    return _inside(handler, model, model)


def _inside(handler: Callable[[], "Temper"], program: Callable, signature: Callable) -> Callable:
    @functools.wraps(signature)
    def tempered(*args: Any, **kwargs: Any) -> Any:
        with handler():  # a new one each time: a handler cannot be installed twice
            return program(*args, **kwargs)

    return tempered


class _TemperedModule(nn.Module):
    """A tempered module, or a tempered method of a module, that has the module's parameters."""

    def __init__(self, program: Any, handler: Callable[[], "Temper"]) -> None:
        super().__init__()
        self.model = getattr(program, "__self__", program)
        self.method = None if program is self.model else program
        self.handler = handler
        self.training = self.model.training  # of this module alone: train() would switch the parts as well

    @property  # and no method, so that its signature is the model's
    def forward(self) -> Callable:  # pyright: ignore[reportIncompatibleMethodOverride]
        """The program; called with the arguments of the model."""
        return _inside(self.handler, self.method or self.model, self.method or self.model.forward)


class Temper(LiftMasks):
    """The effect handler behind ``temper``: replaces the distribution at each site by a tempered one."""

    def __init__(self, beta: float | Tensor, base: Base) -> None:
        super().__init__()
        self.beta, self.base = beta, base

    def _pyro_sample(self, msg: Any) -> None:
        if is_subsample(msg):
            return
        super()._pyro_sample(msg)
        latent, factor = not msg["is_observed"], subsampling(msg["cond_indep_stack"])
        scale = msg["scale"] if factor == 1 else msg["scale"] / factor
        if latent and self.base == "prior" and isinstance(scale, int | float) and scale == 1:
            return
        # Enumeration multiplies log-sums by the site's scale, so the user's goes inside; a plate's stays.
        power = 1 + self.beta * (scale - 1) if latent and self.base == "prior" else self.beta * scale
        offset = log_volume(msg["name"], msg["fn"]) if latent and self.base == "uniform" else 0.0
        msg["fn"] = Tempered(msg["fn"], power, offset, msg["mask"] if latent else None)
        msg["scale"] = float(factor)


class Tempered(TorchDistribution):
    r"""An unnormalised density,  ``log_prob(value) = power * log p(value) - offset``, where ``mask`` holds.

    Where the mask leaves an element out it is log p(value). All else is the base distribution's: shapes, draws,
    support, enumeration, mean and variance.

    Shapes: ``power``, ``offset`` and ``mask`` broadcast to the batch shape.
    """

    def __init__(
        self, base_dist: Any, power: float | Tensor, offset: float | Tensor = 0.0, mask: bool | Tensor | None = None
    ) -> None:
        self.base_dist, self.power, self.offset, self.mask_of_energy = base_dist, power, offset, mask
        super().__init__(base_dist.batch_shape, base_dist.event_shape, validate_args=False)

    def log_prob(self, value: Tensor) -> Tensor:
        """The tempered log-density, without its normalisation."""
        log_prob = self.base_dist.log_prob(value)
        if self.mask_of_energy is False:
            return log_prob
        offset = self.offset.to(log_prob.dtype) if isinstance(self.offset, Tensor) else self.offset
        tempered = self.power * log_prob - offset
        if self.mask_of_energy is None or self.mask_of_energy is True:
            return tempered
        return torch.where(self.mask_of_energy, tempered, log_prob)

    def expand(self, batch_shape: Any, _instance: Any = None) -> "Tempered":
        """The same for a larger batch."""
        return Tempered(self.base_dist.expand(batch_shape), self.power, self.offset, self.mask_of_energy)

    def sample(self, sample_shape: Any = torch.Size()) -> Tensor:  # noqa: B008 - torch's own default
        """A draw from the base distribution."""
        return self.base_dist.sample(sample_shape)

    def rsample(self, sample_shape: Any = torch.Size()) -> Tensor:  # noqa: B008 - torch's own default
        """A draw from the base distribution, differentiable in its parameters."""
        return self.base_dist.rsample(sample_shape)

    def enumerate_support(self, expand: bool = True) -> Tensor:
        """All values."""
        return self.base_dist.enumerate_support(expand=expand)

    @property
    def arg_constraints(self) -> dict:
        """None: validation is left to the base distribution."""
        return {}

    @property
    def has_rsample(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride] - as MaskedDistribution has it
        """Whether draws are differentiable."""
        return self.base_dist.has_rsample

    @property
    def has_enumerate_support(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride] - likewise
        """Whether all values can be listed."""
        return self.base_dist.has_enumerate_support

    @constraints.dependent_property
    def support(self) -> Any:
        """The values with a density."""
        return self.base_dist.support

    @property
    def mean(self) -> Tensor:
        """The mean of the base distribution, from which some algorithms start."""
        return self.base_dist.mean

    @property
    def variance(self) -> Tensor:
        """The variance of the base distribution."""
        return self.base_dist.variance


def _check_beta(beta: Any) -> None:
    if not isinstance(beta, Real | Tensor):
        raise TypeError(f"beta must be a number or a tensor of no dimension, got {beta!r}.")
    if isinstance(beta, Tensor) and (beta.dim() or not beta.is_floating_point()):
        raise ValueError(f"beta must be one number, got a tensor of {beta.dtype} and shape {tuple(beta.shape)}.")
    try:
        value = float(beta.detach() if isinstance(beta, Tensor) else beta)
    except RuntimeError:  # inside torch.vmap a value cannot be read
        return
    if not (value > 0 and math.isfinite(value)):
        raise ValueError(
            f"beta must be a positive, finite inverse temperature, got {value}; for the limit beta = inf use "
            f"EnergyView(model).bind(...).zero_temperature()."
        )
