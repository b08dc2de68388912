"""Whether images have the size that networks were built for: said at the first call, not deep inside a product."""

from torch import Tensor

__all__ = ["check_image_shape"]


def check_image_shape(image: Tensor, shape: tuple[int, ...]) -> None:
    """Refuses images that are not (N, H, W) with H and W those of ``shape``.

    Raises:
        ValueError: giving both shapes, and the remedy.

    Example:
        >>> import torch
        >>> check_image_shape(torch.zeros(5, 8, 8), (8, 8))
        >>> check_image_shape(torch.zeros(5, 28, 28), (8, 8))
        Traceback (most recent call last):
        ...
        ValueError: image must have shape (N, 8, 8), as model and guide were built for, got (5, 28, 28); ...
    """
    if tuple(image.shape[1:]) != tuple(shape):
        fits = f"build both with shape={tuple(image.shape[1:])}, or resize the images"
        axes = "drop a channel axis by image.squeeze(1), add a data axis by image[None], undo image.flatten(1)"
        raise ValueError(
            f"image must have shape (N, {', '.join(map(str, shape))}), as model and guide were built for, got "
            f"{tuple(image.shape)}; {fits if image.dim() == 3 else axes}."
        )
