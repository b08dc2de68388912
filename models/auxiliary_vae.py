r"""Digit, style, and an auxiliary latent, which depends on the image or which the image depends on."""

import pyro
import pyro.distributions as dist
from torch import Tensor, nn

from ..networks import ClassLinear, mlp
from ..networks.image_shape import check_image_shape
from ..networks.joined import joined
from .grey_bernoulli import GreyBernoulli

__all__ = ["AuxiliaryVAE"]

KINDS = ("auxiliary", "skip", "stacked")
"""p(x, a | y, z): p(x | y, z) p(a | x, y, z), p(a | y, z) p(x | a, y, z), or p(a | y, z) p(x | a)."""


class AuxiliaryVAE(nn.Module):
    r"""The generative half of the auxiliary (ADGM), the skip (SDGM) or the stacked (M1+M2) deep generative model.

    .. math:: p(x, y, z, a) = \frac1K \; N(z; 0, I) \times \begin{cases}
              p(x \mid y, z) \; p(a \mid x, y, z) & \text{auxiliary} \\
              p(a \mid y, z) \; p(x \mid a, y, z) & \text{skip} \\
              p(a \mid y, z) \; p(x \mid a) & \text{stacked} \end{cases}

    with y the site ``digit``, z ``style``, a ``auxiliary`` and x ``image``; p(x | .) is Bernoulli in each pixel and
    p(a | .) a diagonal Gaussian. Networks that see the digit have weights for each. Integrated over a, the first is
    the model of :class:`SemiSupervisedVAE`, and what a adds is a posterior of y and z that is no longer a product: a
    guide that draws a first may mix over it. In the second, a is a second layer of latents, which the image too depends
    on. In the third the image depends on nothing else: a is the code of a VAE (M1), whose prior is a model of digit and
    style (M2). log sigma of p(a | .) is kept between -6 and 3.

    Args:
        shape: height and width of the images.
        classes: the number of digits K.
        style: the dimensions of the style D.
        auxiliary: the dimensions of the auxiliary latent A.
        hidden: the width of the hidden layers.
        kind: ``"auxiliary"``, ``"skip"`` or ``"stacked"``. The attribute ``deep`` is whether the image depends on the
            auxiliary latent, as in the last two.

    Sites, all inside the plate ``data`` of N images: ``digit`` (N,), ``style`` (N, D), ``auxiliary`` (N, A), ``image``
    (N, H, W). An argument that is None is latent (``digit``) or simulated (``image``).

    Warning:
        Grey pixels in [0, 1] are allowed: their energy is the cross-entropy, which is not a normalised density on
        [0, 1]. Free energies of grey images compare models of the same images, and nothing else.

    Raises:
        ValueError: if ``kind`` is none of these.

    Reference: L. Maaloe, C. K. Sonderby, S. K. Sonderby, O. Winther (2016), Auxiliary deep generative models.
    https://arxiv.org/abs/1602.05473; of the stacked one, whose layers are there trained one after the other: D. P.
    Kingma, D. J. Rezende, S. Mohamed, M. Welling (2014), Semi-supervised learning with deep generative models,
    section 2.2. https://arxiv.org/abs/1406.5298

    Example:
        >>> import torch
        >>> model = AuxiliaryVAE(shape=(8, 8), style=5, auxiliary=4)
        >>> model(digit=torch.tensor([3, 1, 4])).shape  # simulates one image of each digit
        torch.Size([3, 8, 8])
    """

    def __init__(
        self,
        shape: tuple[int, int] = (28, 28),
        classes: int = 10,
        style: int = 10,
        auxiliary: int = 10,
        hidden: int = 200,
        *,
        kind: str = "auxiliary",
    ) -> None:
        super().__init__()
        if kind not in KINDS:
            raise ValueError(f"kind must be one of {', '.join(KINDS)}, got {kind!r}.")
        self.shape, self.classes, self.style, self.auxiliary = tuple(shape), classes, style, auxiliary
        self.kind, self.deep = kind, kind != "auxiliary"
        pixels = shape[0] * shape[1]
        if kind == "stacked":
            self.decoder = mlp(auxiliary, hidden, pixels)
        else:
            self.first = ClassLinear(classes, style + auxiliary if self.deep else style, hidden)
            self.second = ClassLinear(classes, hidden, pixels)
        if not self.deep:
            self.features = nn.Sequential(nn.Flatten(-2), nn.Linear(pixels, hidden), nn.ReLU())
        self.third = ClassLinear(classes, style if self.deep else hidden + style, hidden)
        self.moments = ClassLinear(classes, hidden, 2 * auxiliary)

    def decode(self, digit: Tensor, style: Tensor, auxiliary: Tensor | None = None) -> Tensor:
        """Logits of the pixels, (..., H, W), for ``digit`` (...), ``style`` (..., D) and, where deep, a (..., A)."""
        if self.kind == "stacked":
            return self.decoder(auxiliary).unflatten(-1, self.shape)
        known = style if auxiliary is None else joined(style, auxiliary)
        return self.second(self.first(known, digit).relu(), digit).unflatten(-1, self.shape)

    def auxiliary_distribution(self, digit: Tensor, style: Tensor, image: Tensor | None = None) -> dist.Independent:
        """p(auxiliary | digit, style), and where it is not deep given ``image`` (..., H, W) too."""
        known = style if image is None else joined(self.features(image), style)
        loc, log_scale = self.moments(self.third(known, digit).relu(), digit).chunk(2, -1)
        return dist.Normal(loc, log_scale.clamp(-6, 3).exp()).to_event(1)

    def forward(self, image: Tensor | None = None, digit: Tensor | None = None) -> Tensor:
        """The program; returns the images, (N, H, W)."""
        if image is not None:
            check_image_shape(image, self.shape)
        zero = self.moments.bias.new_zeros(())
        given = image if image is not None else digit
        with pyro.plate("data", 1 if given is None else len(given)):
            digit = pyro.sample("digit", dist.Categorical(logits=zero.expand(self.classes)), obs=digit)
            style = pyro.sample("style", dist.Normal(zero.expand(self.style), 1.0).to_event(1))
            if self.deep:
                auxiliary = pyro.sample("auxiliary", self.auxiliary_distribution(digit, style))
                return self._image(self.decode(digit, style, auxiliary), image)
            image = self._image(self.decode(digit, style), image)
            pyro.sample("auxiliary", self.auxiliary_distribution(digit, style, image))
            return image

    def _image(self, logits: Tensor, image: Tensor | None) -> Tensor:
        return pyro.sample("image", GreyBernoulli(logits=logits).to_event(2), obs=image)
