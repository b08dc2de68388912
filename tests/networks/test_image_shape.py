"""Every model of images and every guide refuses images of another size, before any product of matrices does."""

import pytest
import torch

from pyrometer.guides import AuxiliaryEncoder, DigitAndStyle, FlowEncoder, GaussianEncoder, KindAndCode, PointEncoder
from pyrometer.models import VAE, AuxiliaryVAE, KindAndCodeVAE, SemiSupervisedVAE

MODELS = [VAE, AuxiliaryVAE, KindAndCodeVAE, SemiSupervisedVAE]
GUIDES = [AuxiliaryEncoder, DigitAndStyle, FlowEncoder, GaussianEncoder, KindAndCode, PointEncoder]


@pytest.mark.parametrize("program", [*MODELS, *GUIDES])
def test_images_of_another_size_are_refused_with_both_sizes_and_the_remedy(program):
    pattern = r"image must have shape \(N, 8, 9\).*got \(5, 9, 8\); build both with shape=\(9, 8\)"
    with pytest.raises(ValueError, match=pattern):
        program((8, 9), hidden=6)(torch.rand(5, 9, 8))


@pytest.mark.parametrize("program", [*MODELS, *GUIDES])
def test_images_of_the_right_size_are_not(program):
    program((8, 9), hidden=6)(torch.rand(5, 8, 9))
