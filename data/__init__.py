"""Data as tensors by site name: digit images with the splits that training needs, and curves in the plane."""

from .checks import check_images
from .digits import digits
from .distortion import Distortion
from .horn import ellipse, horn, horn_radii, pen
from .images import ImageDataset, TrainTest
from .mnist import mnist
from .shapes import FactorDataset, shapes
from .spiral import spiral
from .splits import SemiSupervisedSplit, semi_supervised_split, train_test_split

__all__ = [
    "Distortion",
    "FactorDataset",
    "ImageDataset",
    "SemiSupervisedSplit",
    "TrainTest",
    "check_images",
    "digits",
    "ellipse",
    "horn",
    "horn_radii",
    "mnist",
    "pen",
    "semi_supervised_split",
    "shapes",
    "spiral",
    "train_test_split",
]
