"""Digit images as tensors by site name, and the splits that training needs."""

from .checks import check_images
from .digits import digits
from .images import ImageDataset, TrainTest
from .mnist import mnist
from .splits import SemiSupervisedSplit, semi_supervised_split, train_test_split

__all__ = [
    "ImageDataset",
    "SemiSupervisedSplit",
    "TrainTest",
    "check_images",
    "digits",
    "mnist",
    "semi_supervised_split",
    "train_test_split",
]
