r"""Digit and style:  digit ~ Cat(1/K),  style ~ N(0, I),  image | digit, style ~ Bernoulli(decoder(digit, style))."""

import pyro
import pyro.distributions as dist
from torch import Tensor, nn

from ..networks import ClassLinear
from ..networks.image_shape import check_image_shape
from .grey_bernoulli import GreyBernoulli

__all__ = ["SemiSupervisedVAE"]


class SemiSupervisedVAE(nn.Module):
    r"""The generative half of the M2 model of Kingma et al. (2014), with decoder weights for each digit.

    .. math:: p(x, y, z) = \frac1K \; N(z; 0, I) \; \prod_i \text{Bernoulli}(x_i; \sigma(f_i(y, z)))

    with y the site ``digit``, z the site ``style``, x the site ``image`` and f the network ``decode``.

    Args:
        shape: height and width of the images.
        classes: the number of digits K.
        style: the dimensions of the style D.
        hidden: the width of the decoder's hidden layer.

    Sites, all inside the plate ``data`` of N images: ``digit`` (N,), ``style`` (N, D), ``image`` (N, H, W).
    An argument that is None is latent (``digit``) or simulated (``image``).

    Warning:
        Grey pixels in [0, 1] are allowed: their energy is the cross-entropy, which is not a normalised density on
        [0, 1]. Free energies of grey images compare models of the same images, and nothing else.

    Reference: D. P. Kingma, D. J. Rezende, S. Mohamed, M. Welling (2014), Semi-supervised learning with deep
    generative models, equation 2. https://arxiv.org/abs/1406.5298

    Example:
        >>> import torch
        >>> model = SemiSupervisedVAE(shape=(8, 8), style=5)
        >>> model(digit=torch.tensor([3, 1, 4])).shape  # simulates one image of each digit
        torch.Size([3, 8, 8])
    """

    def __init__(
        self, shape: tuple[int, int] = (28, 28), classes: int = 10, style: int = 10, hidden: int = 200
    ) -> None:
        super().__init__()
        self.shape, self.classes, self.style = tuple(shape), classes, style
        self.first = ClassLinear(classes, style, hidden)
        self.second = ClassLinear(classes, hidden, shape[0] * shape[1])

    def decode(self, digit: Tensor, style: Tensor) -> Tensor:
        """Logits of the pixels, (..., H, W), for ``digit`` (...) and ``style`` (..., D)."""
        logits = self.second(self.first(style, digit).relu(), digit)
        return logits.unflatten(-1, self.shape)

    def forward(self, image: Tensor | None = None, digit: Tensor | None = None) -> Tensor:
        """The program; returns the images, (N, H, W)."""
        if image is not None:
            check_image_shape(image, self.shape)
        zero = self.second.bias.new_zeros(())
        given = image if image is not None else digit
        with pyro.plate("data", 1 if given is None else len(given)):
            digit = pyro.sample("digit", dist.Categorical(logits=zero.expand(self.classes)), obs=digit)
            style = pyro.sample("style", dist.Normal(zero.expand(self.style), 1.0).to_event(1))
            pixels = GreyBernoulli(logits=self.decode(digit, style))
            return pyro.sample("image", pixels.to_event(2), obs=image)
