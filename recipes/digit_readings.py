r"""Two readings of a digit image: by the guide, q(digit | image), and by the model, argmin over k of F(image, k).

Both work for any pair of programs with the arguments ``image`` and ``digit``, whatever their other latents are.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import pyro
import pyro.poutine as poutine
import torch
from torch import Tensor

from ..inference.diagnostics import gibbs_probabilities
from ..inference.energy.structure import sample_sites

__all__ = ["Readings", "digit_free_energies", "digit_readings", "guide_probabilities"]

MOST_PIXELS = 2**23
"""That are decoded at once, over draws, digits and images."""


class Readings(NamedTuple):
    """What guide and model make of N images, K digits being possible.

    Attributes:
        guide: q(digit = k | x), averaged over draws of what the guide conditions it on; (N, K).
        free_energy: F(x, k), an estimate of -log p(x, digit = k) in nats that is too high on average; (N, K).
    """

    guide: Tensor
    free_energy: Tensor

    @property
    def model(self) -> Tensor:
        """exp(-F(x, k)), normalised over k: the model's p(digit | x), as far as F is -log p(x, k); (N, K)."""
        return gibbs_probabilities(self.free_energy)

    def accuracies(self, digit: Tensor) -> dict[str, float]:
        """How many of the digits (N,) each reading gets right, as fractions: ``guide`` and ``model``."""
        said = {"guide": self.guide.argmax(-1), "model": self.free_energy.argmin(-1)}
        return {name: (answer == digit).double().mean().item() for name, answer in said.items()}


def digit_readings(model: Any, guide: Any, image: Tensor, draws: int = 50, seed: int = 0) -> Readings:
    """Both readings of images (N, H, W), with ``draws`` draws of the guide.

    The draws depend on ``seed`` alone, and torch's random state is left as it was.

    Args:
        model: p(image, digit, rest), with the number of digits as its attribute ``classes``.
        guide: q(digit, rest | image), in evaluation mode.
        image: what is to be read.
        draws: of the guide, at each image and digit.
        seed: of the draws.

    Example:
        >>> from pyrometer.guides import DigitAndStyle
        >>> from pyrometer.models import SemiSupervisedVAE
        >>> pair = SemiSupervisedVAE((8, 8), style=3), DigitAndStyle((8, 8), style=3).eval()
        >>> found = digit_readings(*pair, torch.rand(6, 8, 8))
        >>> found.guide.shape, found.free_energy.shape
        (torch.Size([6, 10]), torch.Size([6, 10]))
        >>> found.model.sum(-1).allclose(torch.ones(6))
        True
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        probabilities = guide_probabilities(guide, image, draws)
        return Readings(probabilities, digit_free_energies(model, guide, image, draws))


@torch.no_grad()
def guide_probabilities(guide: Callable, image: Tensor, draws: int = 50) -> Tensor:
    r"""q(digit | image) = E[q(digit | image, a)] over draws of the latents a before it, if there are any; (N, K).

    Raises:
        ValueError: if the guide is given nothing but the image and has no site ``digit``, or is in training mode.
    """
    _check_mode(guide)
    return torch.cat([_probabilities(guide, part, draws) for part in image.split(_images_at_once(image, draws))])


@torch.no_grad()
def digit_free_energies(model: Any, guide: Callable, image: Tensor, draws: int = 50) -> Tensor:
    r"""F(x, k) for every digit k: what it costs to explain the image as a k, whichever the style; (N, K), in nats.

    .. math:: F(x, k) = -\log \frac1S \sum_s \frac{p(x, k, z_s)}{q(z_s \mid x, k)}, \qquad
              E[F(x, k)] \ge F_1(x, k) = -\log p(x, k)

    with draws z_s of all latents but the digit. ``EnergyView.free_energy(method="importance")`` estimates the same by
    one digit at a time, with an error and a warning where the draws do not suffice; here all digits share one pass.

    Raises:
        ValueError: if the guide is in training mode.

    Reference: Y. Burda, R. Grosse, R. Salakhutdinov (2016), Importance weighted autoencoders, equation 8.
    https://arxiv.org/abs/1509.00519
    """
    _check_mode(guide)
    parts = image.split(_images_at_once(image, draws * model.classes))
    return torch.cat([_free_energies(model, guide, part, draws) for part in parts])


def _probabilities(guide: Callable, image: Tensor, draws: int) -> Tensor:
    with _to_the_left(draws):
        trace = poutine.trace(guide).get_trace(image=image)
    sites = sample_sites(trace)
    if "digit" not in sites:
        raise ValueError(
            f"guide must draw a site 'digit' where it is given the image alone, but its sites are {list(sites)}; "
            "rename the site of the class."
        )
    fn = sites["digit"]["fn"]
    return fn.log_prob(fn.enumerate_support(expand=False)).exp().mean((1, 2)).T  # of (K, S, 1, N)


def _free_energies(model: Any, guide: Callable, image: Tensor, draws: int) -> Tensor:
    batch = {"image": image, "digit": torch.arange(model.classes, device=image.device)[:, None]}
    with _to_the_left(draws, model.classes):
        q = poutine.trace(guide).get_trace(**batch)
        p = poutine.trace(poutine.replay(model, trace=q)).get_trace(**batch)
    log_weights = _log_density(p) - _log_density(q)  # (S, K, N)
    return (math.log(draws) - log_weights.logsumexp(0)).T


@contextmanager
def _to_the_left(draws: int, digits: int = 1) -> Iterator[None]:
    """Everything in the block is drawn ``draws`` times for each of ``digits``: (S, K, N) in a plate of N data."""
    with pyro.plate("_draws", draws, dim=-3), pyro.plate("_digits", digits, dim=-2):
        yield


def _log_density(trace: poutine.Trace) -> Tensor:
    """The sum over sites, by draw, digit and datum."""
    trace.compute_log_prob()
    return sum((site["log_prob"] for site in sample_sites(trace).values()), torch.zeros(()))


def _images_at_once(image: Tensor, copies: int) -> int:
    return max(1, MOST_PIXELS // (copies * image[0].numel()))


def _check_mode(guide: Callable) -> None:
    if getattr(guide, "training", False):
        raise ValueError(
            "guide must be in evaluation mode, in which an image's probabilities do not depend on the others; call "
            "guide.eval()."
        )
