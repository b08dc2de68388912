r"""q(kind, code | image) = q(kind | image) q(code | image): a category and a diagonal Gaussian from one network."""

import pyro
import pyro.distributions as dist
from torch import Tensor, nn

from ..networks import mlp
from ..networks.image_shape import check_image_shape

__all__ = ["KindAndCode"]


class KindAndCode(nn.Module):
    r"""The recognition half of a variational auto-encoder with a discrete latent beside its code.

    .. math:: q(y, z \mid x) = \text{Cat}(y; \pi(x)) \; N(z; \mu(x), \operatorname{diag} \sigma(x)^2)

    with y the site ``kind``, z the site ``code``, x the argument ``image``, and log pi, mu and log sigma parts of what
    the network ``encoder`` gives, which has two hidden layers. log sigma is kept between -6 and 3.

    Args:
        shape: height and width of the images.
        kinds: the number of kinds K.
        latents: the dimensions of the code D.
        hidden: the width of each hidden layer of the encoder.

    Sites, inside the plate ``data`` of N images: ``kind`` (N,), ``code`` (N, D).

    Reference: B. Esmaeili et al. (2019), Structured disentangled representations, section 5.
    https://arxiv.org/abs/1804.02086

    Example:
        >>> import torch
        >>> guide = KindAndCode(shape=(8, 8), kinds=3, latents=5, hidden=20)
        >>> kind, code = guide.distributions(torch.rand(4, 8, 8))
        >>> kind.probs.shape, code.mean.shape
        (torch.Size([4, 3]), torch.Size([4, 5]))
    """

    def __init__(
        self, shape: tuple[int, int] = (28, 28), kinds: int = 10, latents: int = 10, hidden: int = 200
    ) -> None:
        super().__init__()
        self.shape, self.kinds, self.latents = (shape[0], shape[1]), kinds, latents
        self.encoder = mlp(shape[0] * shape[1], hidden, hidden, kinds + 2 * latents)

    def distributions(self, image: Tensor) -> tuple[dist.Categorical, dist.Independent]:
        """q(kind | image) and q(code | image) for images (..., H, W)."""
        logits, loc, log_scale = self.encoder(image.flatten(-2)).split([self.kinds, self.latents, self.latents], -1)
        return dist.Categorical(logits=logits), dist.Normal(loc, log_scale.clamp(-6, 3).exp()).to_event(1)

    def forward(self, image: Tensor) -> None:
        """The program."""
        check_image_shape(image, self.shape)
        kind, code = self.distributions(image)
        with pyro.plate("data", len(image)):
            pyro.sample("kind", kind)
            pyro.sample("code", code)
