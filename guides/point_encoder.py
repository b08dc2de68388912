r"""q(code | image) = delta(code - mu(image)): one guess at the code, as an auto-encoder makes it."""

import pyro
import pyro.distributions as dist
from torch import Tensor, nn

from ..networks import mlp
from ..networks.image_shape import check_image_shape

__all__ = ["PointEncoder"]


class PointEncoder(nn.Module):
    r"""The encoder of an auto-encoder: a network guesses the code of least energy.

    .. math:: q(z \mid x) = \delta(z - \mu(x)), \qquad F_\infty(x) = \min_z E(x, z) \le E(x, \mu(x))

    with z the site ``code``, x the argument ``image`` and mu the network ``encoder``, which has two hidden layers. With
    ``Trace_ELBO`` the loss is the energy at that point, in nats: the amortised zero-temperature free energy. A point
    has no entropy, so that it is no bound on -log p(x), and there are no weights to tell how good a posterior it is.

    Args:
        shape: height and width of the images.
        latents: the dimensions of the code D.
        hidden: the width of each hidden layer of the encoder.

    Sites, inside the plate ``data`` of N images: ``code`` (N, D).

    Example:
        >>> import torch
        >>> guide = PointEncoder(shape=(8, 8), latents=5, hidden=20)
        >>> guide.distribution(torch.rand(3, 8, 8)).mean.shape
        torch.Size([3, 5])
    """

    def __init__(self, shape: tuple[int, int] = (28, 28), latents: int = 50, hidden: int = 200) -> None:
        super().__init__()
        self.shape, self.latents = tuple(shape), latents
        self.encoder = mlp(shape[0] * shape[1], hidden, hidden, latents)

    def distribution(self, image: Tensor) -> dist.Delta:
        """q(code | image) for images (..., H, W)."""
        return dist.Delta(self.encoder(image.flatten(-2)), event_dim=1)

    def forward(self, image: Tensor) -> None:
        """The program."""
        check_image_shape(image, self.shape)
        with pyro.plate("data", len(image)):
            pyro.sample("code", self.distribution(image))
