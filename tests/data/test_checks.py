"""Each way in which images or labels can be wrong is refused with its place and its remedy."""

import math

import pytest
import torch
from torch import Tensor

from pyrometer.data import check_images

SIZE, HEIGHT, WIDTH = 5, 3, 4


def images() -> Tensor:
    """(5, 3, 4), valid, with both ends of the interval."""
    return torch.linspace(0, 1, SIZE * HEIGHT * WIDTH).reshape(SIZE, HEIGHT, WIDTH)


def labels() -> Tensor:
    """(5,), valid, with both ends of the range."""
    return torch.tensor([0, 9, 4, 4, 7])


def test_valid_images_pass_with_labels_without_them_and_in_double_precision() -> None:
    check_images(images())
    check_images(images(), labels())
    check_images(images().double(), labels())


@pytest.mark.parametrize("pixel", [-0.25, 1.5, 255.0, math.inf, -math.inf, math.nan])
def test_one_wrong_pixel_is_refused_at_its_place(pixel: float) -> None:
    image = images()
    image[3, 2, 1] = pixel
    with pytest.raises(ValueError, match=rf"image .* \[0, 1\]: 1 of 60 .* {pixel} at \(3, 2, 1\); scale"):
        check_images(image, labels())


@pytest.mark.parametrize("label", [-1, 10, 255])
def test_one_wrong_label_is_refused_at_its_place(label: int) -> None:
    digit = labels()
    digit[2] = label
    with pytest.raises(ValueError, match=rf"digit must lie in 0-9: 1 of 5 .* {label} at 2; "):
        check_images(images(), digit)


def test_bytes_are_refused_with_the_way_to_convert_them() -> None:
    with pytest.raises(TypeError, match=r"torch\.uint8; .* / 255"):
        check_images((images() * 255).to(torch.uint8))


@pytest.mark.parametrize("shape", [(HEIGHT, WIDTH), (SIZE, 1, HEIGHT, WIDTH), (0, HEIGHT, WIDTH)])
def test_a_wrong_shape_of_images_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"shape \(N, H, W\)") as refusal:
        check_images(torch.zeros(shape))
    assert f"got {shape}" in str(refusal.value)


@pytest.mark.parametrize("digit", [labels()[:4], torch.eye(5, 10, dtype=torch.int64)])
def test_labels_that_are_not_one_for_each_image_are_refused(digit: Tensor) -> None:
    with pytest.raises(ValueError, match=r"digit must have shape \(5,\)") as refusal:
        check_images(images(), digit)
    assert f"got {tuple(digit.shape)}" in str(refusal.value)


def test_labels_that_are_no_whole_numbers_are_refused() -> None:
    with pytest.raises(TypeError, match=r"digit must be an int64 tensor.*float32; .*long"):
        check_images(images(), labels().float())


def test_what_is_no_tensor_is_refused() -> None:
    with pytest.raises(TypeError, match="image must be a floating-point tensor .* got list"):
        check_images([[0.5]])  # pyright: ignore[reportArgumentType]  # the mistake under test
