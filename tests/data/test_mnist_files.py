"""The real MNIST files, where PYROMETER_DATA says they are."""

import os
from pathlib import Path

import pytest

from pyrometer.data import mnist

FOLDER = Path(os.environ.get("PYROMETER_DATA", "nowhere")) / "mnist"


@pytest.mark.skipif(not FOLDER.is_dir(), reason="needs MNIST: set PYROMETER_DATA to the folder that holds mnist/")
def test_the_files_hold_the_published_counts() -> None:
    """Counts of each digit as published with the set."""
    train, test = mnist(FOLDER, download=False)
    assert train.image.shape == (60000, 28, 28)
    assert test.image.shape == (10000, 28, 28)
    assert train.digit.bincount().tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert test.digit.bincount().tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    assert test.digit[:5].tolist() == [7, 2, 1, 0, 4]
