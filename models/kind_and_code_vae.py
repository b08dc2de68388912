r"""Kind and code:  kind ~ Cat(1/K),  code ~ N(0, I),  image | kind, code ~ Bernoulli(sigmoid(decoder(kind, code)))."""

import math

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn

from ..networks import mlp
from ..networks.image_shape import check_image_shape
from ..networks.joined import joined
from .grey_bernoulli import GreyBernoulli

__all__ = ["KindAndCodeVAE"]


class KindAndCodeVAE(nn.Module):
    r"""A variational auto-encoder with a discrete latent beside its code, and one decoder for all kinds.

    .. math:: p(x, y, z) = \frac1K \; N(z; 0, I_D) \; \prod_i \text{Bernoulli}(x_i; \sigma(f_i(y, z)))

    with y the site ``kind``, z the site ``code``, x the site ``image`` and f the network ``decoder``, which has two
    hidden layers. In contrast to ``SemiSupervisedVAE`` all kinds share the decoder's weights, so that a dimension of
    the code can mean the same for every kind; and nothing but the objective keeps the decoder from ignoring the kind.

    Args:
        shape: height and width of the images.
        kinds: the number of kinds K.
        latents: the dimensions of the code D.
        hidden: the width of each hidden layer of the decoder.

    Sites, inside the plate ``data`` of N images: ``kind`` (N,), ``code`` (N, D), ``image`` (N, H, W). Without ``image``
    the program simulates one.

    Warning:
        Grey pixels in [0, 1] are allowed: their energy is the cross-entropy, which is not a normalised density on
        [0, 1]. Free energies of grey images compare models of the same images, and nothing else.

    Reference: B. Esmaeili et al. (2019), Structured disentangled representations, section 5.
    https://arxiv.org/abs/1804.02086; E. Dupont (2018), Learning disentangled joint continuous and discrete
    representations. https://arxiv.org/abs/1804.00104

    Example:
        >>> import torch
        >>> model = KindAndCodeVAE(shape=(8, 8), kinds=3, latents=5, hidden=20)
        >>> model().shape  # simulates one image
        torch.Size([1, 8, 8])
        >>> model.decode(torch.arange(3)[:, None], torch.randn(7, 5)).shape  # seven codes as each kind
        torch.Size([3, 7, 8, 8])
    """

    def __init__(
        self, shape: tuple[int, int] = (28, 28), kinds: int = 10, latents: int = 10, hidden: int = 200
    ) -> None:
        super().__init__()
        self.shape, self.kinds, self.latents = (shape[0], shape[1]), kinds, latents
        self.decoder = mlp(kinds + latents, hidden, hidden, shape[0] * shape[1])

    def decode(self, kind: Tensor, code: Tensor) -> Tensor:
        """Logits of the pixels, (..., H, W), for kinds (...) and codes (..., D), the two broadcast."""
        chosen = (kind.unsqueeze(-1) == torch.arange(self.kinds, device=kind.device)).to(code.dtype)
        # With sqrt(K) for one, its inputs have mean square 1 as those of the code, which the weights are made for.
        return self.decoder(joined(math.sqrt(self.kinds) * chosen, code)).unflatten(-1, self.shape)

    def forward(self, image: Tensor | None = None) -> Tensor:
        """The program; returns the images, (N, H, W)."""
        if image is not None:
            check_image_shape(image, self.shape)
        zero = next(self.parameters()).new_zeros(())
        with pyro.plate("data", 1 if image is None else len(image)):
            kind = pyro.sample("kind", dist.Categorical(logits=zero.expand(self.kinds)))
            code = pyro.sample("code", dist.Normal(zero.expand(self.latents), 1.0).to_event(1))
            pixels = GreyBernoulli(logits=self.decode(kind, code))
            return pyro.sample("image", pixels.to_event(2), obs=image)
