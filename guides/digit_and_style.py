r"""q(digit, style | image) = q(digit | image) q(style | image, digit): a classifier, and a Gaussian for each digit."""

import pyro
import pyro.distributions as dist
from torch import Tensor, nn

from ..networks import ClassLinear, ImageClassifier
from ..networks.image_shape import check_image_shape

__all__ = ["DigitAndStyle"]


class DigitAndStyle(nn.Module):
    r"""The recognition half of the M2 model of Kingma et al. (2014).

    .. math:: q(y, z \mid x) = \text{Cat}(y; \pi(x)) \; N(z; \mu_y(x), \operatorname{diag} \sigma_y(x)^2)

    with y the site ``digit``, z the site ``style`` and x the argument ``image``. The classifier pi is by default a
    small convolutional network; mu and log sigma are linear, for each digit, in features of the image that all share.
    log sigma is kept between -6 and 3.

    Args:
        shape: height and width of the images.
        classes: the number of digits K.
        style: the dimensions of the style D.
        hidden: the number of features of the image.
        classifier: the network from images (..., H, W) to logits (..., K), by default ``ImageClassifier``.

    Sites, inside the plate ``data``: ``digit`` (N,) unless it is given, ``style`` (N, D).

    Reference: D. P. Kingma, D. J. Rezende, S. Mohamed, M. Welling (2014), Semi-supervised learning with deep
    generative models, equation 4. https://arxiv.org/abs/1406.5298

    Example:
        >>> import torch
        >>> guide = DigitAndStyle(shape=(8, 8), style=5).eval()
        >>> guide.digit_distribution(torch.rand(3, 8, 8)).probs.shape
        torch.Size([3, 10])
    """

    def __init__(
        self,
        shape: tuple[int, int] = (28, 28),
        classes: int = 10,
        style: int = 10,
        hidden: int = 400,
        classifier: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.shape, self.classes, self.style = tuple(shape), classes, style
        self.classifier = ImageClassifier(shape, classes) if classifier is None else classifier
        self.features = nn.Sequential(nn.Flatten(-2), nn.Linear(shape[0] * shape[1], hidden), nn.ReLU())
        self.moments = ClassLinear(classes, hidden, 2 * style)

    def digit_distribution(self, image: Tensor) -> dist.Categorical:
        """q(digit | image) for images (..., H, W)."""
        return dist.Categorical(logits=self.classifier(image))

    def style_distribution(self, image: Tensor, digit: Tensor) -> dist.Independent:
        """q(style | image, digit) for images (..., H, W) and digits (...), the two broadcast."""
        loc, log_scale = self.moments(self.features(image), digit).chunk(2, -1)
        return dist.Normal(loc, log_scale.clamp(-6, 3).exp()).to_event(1)

    def forward(self, image: Tensor, digit: Tensor | None = None) -> None:
        """The program."""
        check_image_shape(image, self.shape)
        with pyro.plate("data", len(image)):
            if digit is None:
                digit = pyro.sample("digit", self.digit_distribution(image))
            pyro.sample("style", self.style_distribution(image, digit))
