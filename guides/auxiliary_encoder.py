r"""q(auxiliary | image) q(digit | auxiliary, image) q(style | auxiliary, image, digit), in this order."""

import pyro
import pyro.distributions as dist
from torch import Tensor, nn

from ..networks import ClassLinear, ImageClassifier, mlp
from ..networks.image_shape import check_image_shape
from ..networks.joined import joined

__all__ = ["AuxiliaryEncoder"]


class AuxiliaryEncoder(nn.Module):
    r"""The recognition half of the auxiliary, skip and stacked deep generative models of ``AuxiliaryVAE``.

    .. math:: q(a, y, z \mid x) = N(a; \mu(x), \operatorname{diag} \sigma(x)^2) \; \text{Cat}(y; \pi(a, x)) \;
              N(z; \mu_y(a, x), \operatorname{diag} \sigma_y(a, x)^2)

    with a the site ``auxiliary``, y ``digit``, z ``style`` and x the argument ``image``. Integrated over a, the digit
    and the style have a joint distribution that is a mixture, and q(digit | image) is the mean of pi over draws of a.
    pi reads a small convolutional network beside a; the moments of z are linear, for each digit, in features of the
    image beside a. Both log sigma are kept between -6 and 3.

    Args:
        shape: height and width of the images.
        classes: the number of digits K.
        style: the dimensions of the style D.
        auxiliary: the dimensions of the auxiliary latent A.
        hidden: the number of features of the image, for each of the three distributions.
        evidence: the network from images (..., H, W) to the features (..., hidden) that pi reads, by default
            ``ImageClassifier``.

    Sites, inside the plate ``data``: ``auxiliary`` (N, A), ``digit`` (N,) unless it is given, ``style`` (N, D).

    Reference: L. Maaloe, C. K. Sonderby, S. K. Sonderby, O. Winther (2016), Auxiliary deep generative models.
    https://arxiv.org/abs/1602.05473

    Example:
        >>> import torch
        >>> guide = AuxiliaryEncoder(shape=(8, 8), style=5, auxiliary=4).eval()
        >>> image = torch.rand(3, 8, 8)
        >>> auxiliary = guide.auxiliary_distribution(image).sample((7,))
        >>> guide.digit_distribution(image, auxiliary).probs.shape  # seven draws of the auxiliary latent
        torch.Size([7, 3, 10])
    """

    def __init__(
        self,
        shape: tuple[int, int] = (28, 28),
        classes: int = 10,
        style: int = 10,
        auxiliary: int = 10,
        hidden: int = 400,
        *,
        evidence: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.shape, self.classes, self.style, self.auxiliary = tuple(shape), classes, style, auxiliary
        pixels = shape[0] * shape[1]
        self.proposal = mlp(pixels, hidden, 2 * auxiliary)
        self.evidence = ImageClassifier(shape, hidden) if evidence is None else evidence
        self.classifier = mlp(hidden + auxiliary, hidden, classes)
        self.features = nn.Sequential(nn.Flatten(-2), nn.Linear(pixels, hidden), nn.ReLU())
        self.moments = ClassLinear(classes, hidden + auxiliary, 2 * style)

    def auxiliary_distribution(self, image: Tensor) -> dist.Independent:
        """q(auxiliary | image) for images (..., H, W)."""
        return _gaussian(self.proposal(image.flatten(-2)))

    def digit_distribution(self, image: Tensor, auxiliary: Tensor | None = None) -> dist.Categorical:
        """q(digit | auxiliary, image) for images (..., H, W) and auxiliary latents (..., A), the two broadcast.

        Without them, at the mean of q(auxiliary | image): a quick classifier, and no mean over a.
        """
        auxiliary = self.auxiliary_distribution(image).mean if auxiliary is None else auxiliary
        return dist.Categorical(logits=self.classifier(joined(self.evidence(image), auxiliary)))

    def style_distribution(self, image: Tensor, auxiliary: Tensor, digit: Tensor) -> dist.Independent:
        """q(style | auxiliary, image, digit), all broadcast, for digits (...)."""
        return _gaussian(self.moments(joined(self.features(image), auxiliary), digit))

    def forward(self, image: Tensor, digit: Tensor | None = None) -> None:
        """The program."""
        check_image_shape(image, self.shape)
        with pyro.plate("data", len(image)):
            auxiliary = pyro.sample("auxiliary", self.auxiliary_distribution(image))
            if digit is None:
                digit = pyro.sample("digit", self.digit_distribution(image, auxiliary))
            pyro.sample("style", self.style_distribution(image, auxiliary, digit))


def _gaussian(moments: Tensor) -> dist.Independent:
    """The diagonal Gaussian whose means and log scales are the two halves of ``moments`` (..., 2 D)."""
    loc, log_scale = moments.chunk(2, -1)
    return dist.Normal(loc, log_scale.clamp(-6, 3).exp()).to_event(1)
