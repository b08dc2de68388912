r"""Data augmentation of images: small random affine maps, one for each image.

.. math:: x'(u) = x(R(\alpha) \, K(\kappa) \, S(s) \, u + t)
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample

__all__ = ["Distortion"]


@dataclass(frozen=True)
class Distortion:
    r"""Rotates, shears, scales and shifts each image by numbers of its own, uniform between plus and minus the limits.

    .. math:: x'(u) = x(A u + t), \qquad A = R(\alpha) \begin{pmatrix} 1 & \kappa \\ 0 & 1 \end{pmatrix}
              \operatorname{diag}(e^{s_1}, e^{s_1 + s_2})

    between pixels by bilinear interpolation, and 0 outside the image. What it draws comes from torch's generator.

    Args:
        rotation: the largest angle alpha, in degrees.
        shear: the largest kappa.
        scale: the largest s_1, the logarithm of a factor of both sides.
        stretch: the largest s_2, that of the height alone.
        shift: the largest part t of the image's sides.

    Shapes: images (N, H, W) to images (N, H, W).

    Raises:
        ValueError: if a limit is negative or not finite; when called, if the images have other than three dimensions.

    Example:
        >>> distort = Distortion(rotation=15, shift=0.1)
        >>> distort(torch.rand(3, 8, 8)).shape
        torch.Size([3, 8, 8])
    """

    rotation: float = 0.0
    shear: float = 0.0
    scale: float = 0.0
    stretch: float = 0.0
    shift: float = 0.0

    def __post_init__(self) -> None:
        for name, limit in vars(self).items():
            if not (limit >= 0 and math.isfinite(limit)):
                raise ValueError(f"{name} must be a limit of 0 or more, got {limit}.")

    def __call__(self, image: Tensor) -> Tensor:
        """The images, each distorted anew."""
        if image.dim() != 3:
            raise ValueError(f"image must be (N, H, W), got {tuple(image.shape)}.")
        drawn = 2 * torch.rand(6, len(image), dtype=image.dtype, device=image.device) - 1
        limits = [math.radians(self.rotation), self.shear, self.scale, self.stretch, 2 * self.shift, 2 * self.shift]
        angle, shear, scale, stretch, across, down = drawn * drawn.new_tensor(limits).unsqueeze(-1)
        cos, sin = angle.cos(), angle.sin()
        width, height = scale.exp(), (scale + stretch).exp()
        first = torch.stack([cos * width, (shear * cos - sin) * height, across], -1)
        second = torch.stack([sin * width, (shear * sin + cos) * height, down], -1)
        size = (len(image), 1, *image.shape[1:])
        grid = affine_grid(torch.stack([first, second], -2), list(size), align_corners=False)
        return grid_sample(image.unsqueeze(1), grid, align_corners=False).squeeze(1)
