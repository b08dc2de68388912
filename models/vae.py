r"""Variational auto-encoder:  code ~ N(0, I_D),  image | code ~ Bernoulli(sigmoid(decoder(code)))."""

import pyro
import pyro.distributions as dist
from torch import Tensor, nn

from ..networks import mlp
from ..networks.image_shape import check_image_shape
from .grey_bernoulli import GreyBernoulli

__all__ = ["VAE"]


class VAE(nn.Module):
    r"""The generative half of the variational auto-encoder of Kingma and Welling (2014), with Bernoulli pixels.

    .. math:: p(z) = N(z; 0, I_D), \qquad p(x \mid z) = \prod_i \text{Bernoulli}(x_i; \sigma(f_i(z)))

    with z the site ``code``, x the site ``image`` and f the network ``decoder``, which has two hidden layers.

    Args:
        shape: height and width of the images.
        latents: the dimensions of the code D.
        hidden: the width of each hidden layer of the decoder.

    Sites, inside the plate ``data`` of N images: ``code`` (N, D), ``image`` (N, H, W). Without ``image`` the program
    simulates one; ``pyro.poutine.uncondition(model)(x)`` simulates as many as x has.

    Warning:
        Pixels of 0 and 1 have a normalised probability. Grey ones in [0, 1] are allowed, and their energy is the
        cross-entropy, which is no normalised density: free energies of grey images compare models of the same images,
        and nothing else.

    Reference: D. P. Kingma, M. Welling (2014), Auto-encoding variational Bayes, appendix C.1.
    https://arxiv.org/abs/1312.6114

    Example:
        >>> import torch
        >>> model = VAE(shape=(8, 8), latents=5, hidden=20)
        >>> model().shape  # simulates one image
        torch.Size([1, 8, 8])
        >>> model.decode(torch.randn(7, 3, 5)).shape  # 7 draws of the codes of 3 images
        torch.Size([7, 3, 8, 8])
    """

    def __init__(self, shape: tuple[int, int] = (28, 28), latents: int = 50, hidden: int = 200) -> None:
        super().__init__()
        self.shape, self.latents = (shape[0], shape[1]), latents
        self.decoder = mlp(latents, hidden, hidden, shape[0] * shape[1])

    def decode(self, code: Tensor) -> Tensor:
        """Logits of the pixels, (..., H, W), for codes (..., D)."""
        return self.decoder(code).unflatten(-1, self.shape)

    def forward(self, image: Tensor | None = None) -> Tensor:
        """The program; returns the images, (N, H, W)."""
        if image is not None:
            check_image_shape(image, self.shape)
        zero = next(self.parameters()).new_zeros(self.latents)
        with pyro.plate("data", 1 if image is None else len(image)):
            code = pyro.sample("code", dist.Normal(zero, 1.0).to_event(1))
            pixels = GreyBernoulli(logits=self.decode(code))
            return pyro.sample("image", pixels.to_event(2), obs=image)
