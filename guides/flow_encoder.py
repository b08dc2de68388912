r"""q(code | image): a Gaussian whose moments a network reads off the image, bent by a flow that reads it too."""

from collections.abc import Iterable
from typing import cast

import pyro
from torch import Tensor, nn

from ..networks import mlp
from ..networks.image_shape import check_image_shape
from .spline_flow import Coupling, SplineFlow

__all__ = ["FlowEncoder"]


class FlowEncoder(nn.Module):
    r"""A recognition network whose posteriors need be no Gaussians: bent, skewed, or with several modes.

    .. math:: z = \mu(x) + \sigma(x) \odot T(\epsilon; h(x)), \qquad \epsilon \sim N(0, I_D)

    with z the site ``code``, x the argument ``image``, and mu, log sigma and the features h what the network
    ``encoder`` gives, which has two hidden layers. T is made of coupling steps of monotonic splines (`SplineFlow`),
    because a guide is both drawn from and asked for the density of given codes, and here both cost one pass. T starts
    as the identity: an untrained guide is a `GaussianEncoder`, and its family contains all of those. log sigma is kept
    between -6 and 3.

    Args:
        shape: height and width of the images.
        latents: the dimensions of the code D.
        hidden: the width of each hidden layer of the encoder, and of that of each coupling.
        couplings: the steps of T.
        bins: the pieces of each spline.
        features: the dimensions of h.

    Sites, inside the plate ``data`` of N images: ``code`` (N, D).

    Raises:
        ImportError: if zuko is not installed.

    Warning:
        The divergence from the prior has no closed form: take ``Trace_ELBO`` or ``MonteCarlo``. The codes have no mean
        in closed form either: average draws.

    Reference: D. Rezende, S. Mohamed (2015), Variational inference with normalizing flows,
    https://arxiv.org/abs/1505.05770; the splines are those of C. Durkan et al. (2019), Neural spline flows,
    https://arxiv.org/abs/1906.04032

    Example:
        >>> import torch
        >>> guide = FlowEncoder(shape=(8, 8), latents=5, hidden=20)
        >>> guide.distribution(torch.rand(3, 8, 8)).sample((7,)).shape
        torch.Size([7, 3, 5])
    """

    def __init__(
        self,
        shape: tuple[int, int] = (28, 28),
        latents: int = 50,
        hidden: int = 200,
        *,
        couplings: int = 4,
        bins: int = 8,
        features: int = 32,
    ) -> None:
        super().__init__()
        self.shape, self.latents, self.features = tuple(shape), latents, features
        self.encoder = mlp(shape[0] * shape[1], hidden, hidden, 2 * latents + features)
        steps = [Coupling(latents, features, hidden, bins, first=bool(i % 2)) for i in range(couplings)]
        self.couplings = nn.ModuleList(steps)

    def distribution(self, image: Tensor) -> SplineFlow:
        """q(code | image) for images (..., H, W)."""
        sizes = [self.latents, self.latents, self.features]
        loc, log_scale, features = self.encoder(image.flatten(-2)).split(sizes, -1)
        couplings = cast(Iterable[Coupling], self.couplings)
        return SplineFlow(loc, log_scale.clamp(-6, 3).exp(), features, couplings)

    def forward(self, image: Tensor) -> None:
        """The program."""
        check_image_shape(image, self.shape)
        with pyro.plate("data", len(image)):
            pyro.sample("code", self.distribution(image))
