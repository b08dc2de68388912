"""Images of one shape each, on the complete grid of five factors: which, how large, which way round, and where."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["FactorDataset", "shapes"]

SIDE = 16
RADII = (2.0, 2.7, 3.4)
"""In pixels, of a disc of the same area."""
ANGLES = (0.0, 22.5, 45.0, 67.5)
"""In degrees: less than a square takes to look the same again, and so for the other two."""
PLACES = 6
MARGIN = 5.3
"""Of the outermost centres from the edges, in pixels."""
FINER = 4
"""Points along the side of a pixel, of which the part that is inside the shape is its grey value."""


@dataclass(frozen=True, eq=False)
class FactorDataset:
    """Grey images with the values of the factors that they were made from.

    Attributes:
        image: (N, H, W), in [0, 1].
        factors: int64 (N,) from 0 by name, on a complete grid: every combination occurs once.
    """

    image: Tensor
    factors: dict[str, Tensor]

    def __len__(self) -> int:
        """N, the number of images."""
        return len(self.image)

    def __repr__(self) -> str:
        """The sizes alone."""
        counts = ", ".join(f"{len(value.unique())} of {name}" for name, value in self.factors.items())
        return f"FactorDataset({len(self)} images: {counts})"


def shapes() -> FactorDataset:
    r"""1,296 images of 16 x 16 pixels, for measures of disentangling: what a latent should know is known of each.

    ``kind`` is a square, an equilateral triangle or an ellipse (twice as long as wide), ``size`` one of three,
    ``angle`` a multiple of 22.5 degrees below 90, ``across`` and ``down`` the place on a grid of 6 x 6. Shapes of one
    size have the same area, so that the amount of ink tells the size and not the kind, and none is cut off. A pixel's
    grey value is the part of 4 x 4 points in it that the shape covers. There is nothing random in them.

    The design is that of dSprites (L. Matthey, I. Higgins, D. Hassabis, A. Lerchner, 2017), at a size at which a
    training takes seconds.

    Example:
        >>> shapes()
        FactorDataset(1296 images: 3 of kind, 3 of size, 4 of angle, 6 of across, 6 of down)
        >>> shapes().image[0].sum() < shapes().image[-1].sum()  # the last is the largest ellipse
        tensor(True)
    """
    counts = {"kind": 3, "size": len(RADII), "angle": len(ANGLES), "across": PLACES, "down": PLACES}
    grid = torch.meshgrid(*(torch.arange(count) for count in counts.values()), indexing="ij")
    factors = {name: value.flatten() for name, value in zip(counts, grid, strict=True)}
    places = torch.linspace(MARGIN, SIDE - MARGIN, PLACES, dtype=torch.float64)
    radius = torch.tensor(RADII, dtype=torch.float64)[factors["size"]]
    angle = torch.tensor(ANGLES, dtype=torch.float64)[factors["angle"]].deg2rad()
    centre = torch.stack([places[factors["across"]], places[factors["down"]]])
    images = []
    for kind, inside in enumerate((_square, _triangle, _ellipse)):
        rows = factors["kind"] == kind
        images.append(_covered(inside, radius[rows], angle[rows], centre[:, rows]))
    return FactorDataset(torch.cat(images), factors)  # which is in order, since the kind changes last


def _covered(inside: Callable[[Tensor, Tensor], Tensor], radius: Tensor, angle: Tensor, centre: Tensor) -> Tensor:
    """The part of each pixel (N, H, W) that a shape covers, of these radii (N,), angles (N,) and centres (2, N)."""
    points = (torch.arange(SIDE * FINER, dtype=torch.float64) + 0.5) / FINER
    across, down = points[None, None, :] - centre[0, :, None, None], points[None, :, None] - centre[1, :, None, None]
    cos, sin = (angle.cos() / radius)[:, None, None], (angle.sin() / radius)[:, None, None]
    covered = inside(across * cos + down * sin, down * cos - across * sin).float()
    return covered.unfold(1, FINER, FINER).unfold(2, FINER, FINER).mean((-1, -2))


def _square(along: Tensor, beside: Tensor) -> Tensor:
    """Whether points are inside a square of area pi around 0."""
    return torch.maximum(along.abs(), beside.abs()) <= math.sqrt(math.pi) / 2


def _triangle(along: Tensor, beside: Tensor) -> Tensor:
    """Inside an equilateral triangle of area pi with its centre of gravity at 0."""
    inner = math.sqrt(math.pi / (3 * math.sqrt(3)))  # the radius of the circle within
    sides = [-beside, *(beside / 2 + sign * math.sqrt(3) / 2 * along for sign in (-1, 1))]
    return torch.stack(sides).amax(0) <= inner


def _ellipse(along: Tensor, beside: Tensor) -> Tensor:
    """Inside an ellipse of area pi, twice as long as wide."""
    return along.square() / 2 + 2 * beside.square() <= 1
