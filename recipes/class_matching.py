"""What classes that were found without labels mean: the digit that each is matched with, and how well that fits."""

from typing import NamedTuple

import torch
from scipy.optimize import linear_sum_assignment
from sklearn.metrics import normalized_mutual_info_score
from torch import Tensor

__all__ = ["Agreement", "agreement", "contingency", "match_classes"]


class Agreement(NamedTuple):
    """Of classes with digits.

    Attributes:
        accuracy: the part of the images whose class is matched with their digit.
        mutual_information: of class and digit, over the mean of their entropies: 0 if independent, 1 if each gives the
            other; it needs no matching.
    """

    accuracy: float
    mutual_information: float


def contingency(found: Tensor, digit: Tensor, classes: int = 10, digits: int = 10) -> Tensor:
    """How many images of each digit fall into each class: (classes, digits), from both by image, (N,).

    Example:
        >>> contingency(torch.tensor([1, 1, 0]), torch.tensor([2, 0, 2]), classes=2, digits=3)
        tensor([[0, 0, 1],
                [1, 0, 1]])
    """
    return torch.bincount(found * digits + digit, minlength=classes * digits).reshape(classes, digits)


def match_classes(found: Tensor, digit: Tensor, classes: int = 10, digits: int = 10) -> Tensor:
    """The digit of each class, (classes,): one to one, so that most images have theirs; -1 for classes left over.

    This looks at labels, of images that neither are judged by nor need be many: it names classes and changes none.

    Args:
        found: the class of each image, (N,).
        digit: its digit, (N,).
        classes: how many classes there are.
        digits: how many digits.

    Reference: H. W. Kuhn (1955), The Hungarian method for the assignment problem, as scipy has it.

    Example:
        >>> match_classes(torch.tensor([1, 1, 0, 2]), torch.tensor([0, 0, 2, 1]), classes=3, digits=3)
        tensor([2, 0, 1])
    """
    rows, columns = linear_sum_assignment(-contingency(found, digit, classes, digits).numpy())
    matched = torch.full((classes,), -1)
    matched[torch.as_tensor(rows)] = torch.as_tensor(columns)
    return matched


def agreement(found: Tensor, digit: Tensor, matched: Tensor) -> Agreement:
    """How well classes (N,) that are matched with digits, ``matched`` (classes,), agree with the true ones (N,).

    Example:
        >>> agreement(torch.tensor([1, 1, 0, 0]), torch.tensor([3, 3, 5, 5]), matched=torch.tensor([5, 3]))
        Agreement(accuracy=1.0, mutual_information=1.0)
    """
    accuracy = (matched[found] == digit).double().mean().item()
    return Agreement(accuracy, float(normalized_mutual_info_score(digit.numpy(), found.numpy())))
