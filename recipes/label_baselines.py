"""What scikit-learn's classifiers reach with the same few labels: the judges of a semi-supervised model."""

from collections.abc import Mapping

import torch
from sklearn.linear_model import LogisticRegression
from sklearn.semi_supervised import LabelSpreading
from torch import Tensor

from ..data import ImageDataset

__all__ = ["BASELINES", "label_baselines"]

BASELINES = {
    "logistic regression": "labelled images",
    "label spreading": "labelled and unlabelled images",
}
"""The classifiers, and what each learns from."""


def label_baselines(streams: Mapping[str, Mapping[str, Tensor]], test: ImageDataset) -> dict[str, float]:
    """The test accuracy of each of `BASELINES`.

    Nothing is tuned: both have scikit-learn's own settings (of label spreading: a Gaussian kernel with gamma 20), on
    pixels in [0, 1]. Label spreading compares all pairs of images, so this is for small sets.

    Args:
        streams: what a semi-supervised model is trained on: ``unlabelled`` with ``image`` (M, H, W), and ``labelled``
            with ``image`` (L, H, W) and ``digit`` (L,).
        test: what the classifiers are judged by.

    Reference: D. Zhou, O. Bousquet, T. N. Lal, J. Weston, B. Schölkopf (2004), Learning with local and global
    consistency, Advances in Neural Information Processing Systems 16.

    Example:
        >>> from pyrometer.data import digits, semi_supervised_split, train_test_split
        >>> both = train_test_split(digits(), seed=3)
        >>> reached = label_baselines(semi_supervised_split(both.train, 100, seed=3).streams(), both.test)
        >>> 0.8 < reached["logistic regression"] < reached["label spreading"]
        True
    """
    image, digit = _pixels(streams["labelled"]["image"]), streams["labelled"]["digit"]
    others = _others(_pixels(streams["unlabelled"]["image"]), image)
    everything = torch.cat([image, others])
    known = torch.cat([digit, digit.new_full((len(others),), -1)])  # -1 is scikit-learn's mark of no label
    logistic = LogisticRegression(max_iter=1000).fit(image.numpy(), digit.numpy())
    spreading = LabelSpreading().fit(everything.numpy(), known.numpy())
    pixels, true = _pixels(test.image).numpy(), test.digit.numpy()
    return {name: float(one.score(pixels, true)) for name, one in zip(BASELINES, (logistic, spreading), strict=True)}


def _pixels(image: Tensor) -> Tensor:
    return image.flatten(1).cpu()


def _others(unlabelled: Tensor, labelled: Tensor) -> Tensor:
    """The unlabelled images that are not among the labelled ones: each image is to be in the graph once."""
    same = (unlabelled[:, None] == labelled).all(-1).any(1)
    return unlabelled[~same]
