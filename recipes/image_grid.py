"""A table of grey images in one pair of axes, with a label for each row and each column."""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from torch import Tensor
from torch.nn.functional import pad

__all__ = ["draw_grid", "frame"]

GAP = 0.125
"""The white between two images, in widths of an image; at least one pixel."""


def draw_grid(
    axes: Axes, images: Tensor, rows: Sequence[str] | None = None, columns: Sequence[str] | None = None
) -> None:
    """Draws images (R, C, H, W) in [0, 1] as R rows and C columns, ink black on white as in print.

    Args:
        axes: where to.
        images: one image for each place.
        rows, columns: what stands beside each row and under each column; nothing without.

    Example:
        >>> import torch
        >>> from matplotlib.figure import Figure
        >>> axes = Figure().subplots()
        >>> draw_grid(axes, torch.rand(2, 3, 8, 8), columns=["a", "b", "c"])
        >>> axes.get_xticks()  # the middles of the columns, in pixels
        array([ 3.5, 12.5, 21.5])
    """
    height, width = _pitch(images)
    axes.imshow(_tile(images).numpy(), cmap="gray_r", vmin=0, vmax=1, interpolation="nearest")
    axes.set_xticks([width * c + (images.shape[-1] - 1) / 2 for c in range(images.shape[1])] if columns else [])
    axes.set_yticks([height * r + (images.shape[-2] - 1) / 2 for r in range(images.shape[0])] if rows else [])
    if columns:
        axes.set_xticklabels(columns)
    if rows:
        axes.set_yticklabels(rows)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)


def frame(axes: Axes, images: Tensor, row: int, column: int, colour: str) -> None:
    """Draws a frame around one image of the grid."""
    (height, width), margin = _pitch(images), _gap(images) / 4  # half-way to the middle of the gap
    corner = (width * column - 0.5 - margin, height * row - 0.5 - margin)
    size = (images.shape[-1] + 2 * margin, images.shape[-2] + 2 * margin)
    axes.add_patch(Rectangle(corner, *size, fill=False, edgecolor=colour, linewidth=1.5, clip_on=False))


def _tile(images: Tensor) -> Tensor:
    """The images side by side, with white between them: (R * (H + gap) - gap, C * (W + gap) - gap)."""
    gap = _gap(images)
    framed = pad(images, (0, gap, 0, gap))
    joined = framed.permute(0, 2, 1, 3).flatten(2).flatten(0, 1)
    return joined[:-gap, :-gap]


def _gap(images: Tensor) -> int:
    return max(1, round(GAP * images.shape[-1]))


def _pitch(images: Tensor) -> tuple[int, int]:
    """From one image to the next, down and across, in pixels."""
    return images.shape[-2] + _gap(images), images.shape[-1] + _gap(images)
