"""How much each digit, taken as a hypothesis, costs in free energy on the images that are hardest to read."""

from typing import NamedTuple

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.container import BarContainer
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from torch import Tensor

from ..data import ImageDataset
from ..guides import DigitAndStyle
from ..inference.energy import EnergyView
from ..inference.energy.free_energy import reliable_pareto_k
from ..models import SemiSupervisedVAE
from .image_grid import draw_grid

__all__ = ["Hypotheses", "energies_by_digit", "hardest", "hypotheses"]

DRAWS = 1000
LIMIT = reliable_pareto_k(DRAWS)
TRUE, OTHER = "#d55e00", "#9ab8cc"
GUIDE, MODEL = "#0072b2", "#e69f00"
HATCH = "/////"


class Hypotheses(NamedTuple):
    """What speaks for each of K digits on N images.

    Attributes:
        free_energy: F_1(x, k) = -log p(x, digit = k), the style integrated, in nats; (N, K).
        error: its standard error, in nats; (N, K).
        pareto_k: of the importance weights that it comes from; (N, K).
        guide: q(digit = k | x), (N, K).
    """

    free_energy: Tensor
    error: Tensor
    pareto_k: Tensor
    guide: Tensor

    @property
    def model(self) -> Tensor:
        """p(digit = k | x), proportional to exp(-F_1(x, k)): what the guide's probabilities stand for; (N, K)."""
        return (-self.free_energy).softmax(-1)

    @property
    def unreliable(self) -> Tensor:
        """Where the guide misses too much of the style's posterior for F_1, which then tends to come out too high."""
        return ~(self.pareto_k <= LIMIT)


def energies_by_digit(
    test: ImageDataset, model: SemiSupervisedVAE, guide: DigitAndStyle, count: int = 4, seed: int = 0
) -> Figure:
    """The ``count`` hardest test images, each beside its free energy under every digit and what that makes probable."""
    chosen = test.subset(hardest(test, guide, count))
    found = hypotheses(model, guide, chosen.image, seed)
    figure = Figure(figsize=(7.5, 1.1 + 1.5 * len(chosen)), layout="constrained")
    rows = figure.subplots(len(chosen), 3, squeeze=False, width_ratios=[0.8, 2, 2])
    for row, (picture, energies, probabilities) in enumerate(rows):
        true, of_image = int(chosen.digit[row]), Hypotheses(*(values[row] for values in found))
        draw_grid(picture, chosen.image[row][None, None])
        picture.set_ylabel(f"true digit: {true}")
        _draw_energies(energies, of_image, true)
        _draw_probabilities(probabilities, of_image, true)
    for axes, title in zip(
        rows[0, 1:], ("F = -log p(image, digit) ± s.e., nats", "probability of the digit"), strict=True
    ):
        axes.set_title(title, fontsize="medium")
    for axes in rows[-1, 1:]:
        axes.set_xlabel("digit")
    handles = _legend(bool(found.unreliable.any()))
    figure.legend(handles=handles, loc="outside lower center", ncols=3, frameon=False, fontsize=9)
    figure.suptitle(f"What each digit would cost: the {len(chosen)} test images hardest for the guide")
    return figure


@torch.no_grad()
def hardest(test: ImageDataset, guide: DigitAndStyle, count: int) -> Tensor:
    """The places of the images with the least q(true digit | image) over the greatest other one, worst first."""
    log_q = guide.digit_distribution(test.image).logits
    true = torch.nn.functional.one_hot(test.digit, log_q.shape[-1]).bool()
    margin = log_q[true] - log_q.masked_fill(true, -torch.inf).amax(-1)
    return margin.argsort()[:count]


@torch.no_grad()
def hypotheses(model: SemiSupervisedVAE, guide: DigitAndStyle, image: Tensor, seed: int = 0) -> Hypotheses:
    """F_1 of images (N, H, W) under every digit, by importance sampling of the style with draws from the guide.

    The draws depend on ``seed`` alone, and torch's random state is left as it was.
    """
    view = EnergyView(model)
    values, errors, shapes = [], [], []
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for digit in torch.arange(model.classes):
            found = view.bind(image=image, digit=digit.expand(len(image))).free_energy(
                method="importance", guide=guide, draws=DRAWS
            )
            values.append(found.per_datum)
            errors.append(found.per_datum_error)
            shapes.append(found.evidence["pareto_k"])
    free_energy, error, pareto_k = (torch.stack(columns, -1) for columns in (values, errors, shapes))
    return Hypotheses(free_energy, error, pareto_k, guide.digit_distribution(image).probs)


def _draw_energies(axes: Axes, found: Hypotheses, true: int) -> None:
    colours = [TRUE if digit == true else OTHER for digit in range(len(found.guide))]
    heights, errors = found.free_energy.numpy(), found.error.numpy()
    bars = axes.bar(range(len(heights)), heights, yerr=errors, color=colours, edgecolor="white", linewidth=0, capsize=2)
    _hatch(bars, found.unreliable)
    _tidy(axes, len(heights), true)


def _draw_probabilities(axes: Axes, found: Hypotheses, true: int) -> None:
    digits = np.arange(len(found.guide))
    axes.bar(digits - 0.2, found.guide.numpy(), width=0.4, color=GUIDE)
    bars = axes.bar(digits + 0.2, found.model.numpy(), width=0.4, color=MODEL, edgecolor="white", linewidth=0)
    _hatch(bars, found.unreliable)
    axes.set_ylim(0, 1)
    _tidy(axes, len(digits), true)


def _hatch(bars: BarContainer, unreliable: Tensor) -> None:
    for bar, hatched in zip(bars, unreliable.tolist(), strict=True):
        bar.set_hatch(HATCH if hatched else None)


def _tidy(axes: Axes, classes: int, true: int) -> None:
    axes.set_xticks(range(classes))
    axes.get_xticklabels()[true].set(color=TRUE, weight="bold")
    axes.spines[["top", "right"]].set_visible(False)


def _legend(unreliable: bool) -> list[Patch]:
    named = {"true digit": TRUE, "other digits": OTHER, "guide: q(digit | image)": GUIDE, "model: softmax(-F)": MODEL}
    handles = [Patch(color=colour, label=name) for name, colour in named.items()]
    label = f"unreliable (Pareto k > {LIMIT:.2f}), F too high"
    hatched = Patch(facecolor="grey", edgecolor="white", linewidth=0, hatch=HATCH, label=label)
    return [*handles, hatched] if unreliable else handles
