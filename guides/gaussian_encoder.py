r"""q(code | image) = N(mu(image), diag(sigma(image)^2)): a diagonal Gaussian whose moments a network reads off."""

import pyro
import pyro.distributions as dist
from torch import Tensor, nn

from ..networks import mlp
from ..networks.image_shape import check_image_shape

__all__ = ["GaussianEncoder"]


class GaussianEncoder(nn.Module):
    r"""The recognition half of the variational auto-encoder of Kingma and Welling (2014).

    .. math:: q(z \mid x) = N(z; \mu(x), \operatorname{diag} \sigma(x)^2)

    with z the site ``code``, x the argument ``image``, and mu and log sigma the two halves of what the network
    ``encoder`` gives, which has two hidden layers. log sigma is kept between -6 and 3.

    Args:
        shape: height and width of the images.
        latents: the dimensions of the code D.
        hidden: the width of each hidden layer of the encoder.

    Sites, inside the plate ``data`` of N images: ``code`` (N, D).

    Reference: D. P. Kingma, M. Welling (2014), Auto-encoding variational Bayes, appendix C.2.
    https://arxiv.org/abs/1312.6114

    Example:
        >>> import torch
        >>> guide = GaussianEncoder(shape=(8, 8), latents=5, hidden=20)
        >>> guide.distribution(torch.rand(3, 8, 8)).mean.shape
        torch.Size([3, 5])
    """

    def __init__(self, shape: tuple[int, int] = (28, 28), latents: int = 50, hidden: int = 200) -> None:
        super().__init__()
        self.shape, self.latents = tuple(shape), latents
        self.encoder = mlp(shape[0] * shape[1], hidden, hidden, 2 * latents)

    def distribution(self, image: Tensor) -> dist.Independent:
        """q(code | image) for images (..., H, W)."""
        loc, log_scale = self.encoder(image.flatten(-2)).chunk(2, -1)
        return dist.Normal(loc, log_scale.clamp(-6, 3).exp()).to_event(1)

    def forward(self, image: Tensor) -> None:
        """The program."""
        check_image_shape(image, self.shape)
        with pyro.plate("data", len(image)):
            pyro.sample("code", self.distribution(image))
