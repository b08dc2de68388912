"""The classifier's shapes, and what it does only while it is trained."""

import pytest
import torch

from pyrometer.networks import ImageClassifier


def test_leading_dimensions_are_kept():
    net = ImageClassifier((9, 12), classes=4, channels=(3, 5), strides=(1, 2)).eval()
    image = torch.rand(2, 3, 9, 12)
    assert net(image).shape == (2, 3, 4)
    torch.testing.assert_close(net(image)[1, 2], net(image[1, 2][None])[0])


def test_noise_and_dropout_are_for_training_alone():
    net = ImageClassifier((8, 8), noise=0.5)
    image = torch.rand(5, 8, 8)
    assert not torch.equal(net(image), net(image))
    net.eval()
    assert torch.equal(net(image), net(image))


def test_strides_make_the_last_layer_smaller():
    sizes = [ImageClassifier((28, 28), channels=(4, 6), strides=(2, stride)).logits.in_features for stride in (1, 2)]
    assert sizes == [6 * 14 * 14, 6 * 7 * 7]


def test_channels_and_strides_are_of_one_length():
    with pytest.raises(ValueError, match=r"one number a convolution, got \(16, 32\) and \(2,\)"):
        ImageClassifier((28, 28), channels=(16, 32), strides=(2,))
    with pytest.raises(ValueError, match=r"at least \(8, 8\) for the convolutions, got \(7, 28\)"):
        ImageClassifier((7, 28))
