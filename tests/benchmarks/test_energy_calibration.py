"""The rules that choose between two systems, on energies that can be followed by hand."""

import torch

import pyrometer
from pyrometer.benchmarks.energy_calibration import EnergyClassifier, chosen_right, margin_loss


def test_a_temperature_mends_the_choice_between_systems_of_other_units():
    # The first system says 0 with a margin of 1, the second says 1 with one of 4 in units five times as small.
    energies = [torch.tensor([[-1.0, 0.0], [-1.0, 0.0]]), torch.tensor([[4.0, -0.0], [-0.0, 4.0]])]
    total, picks, overall = chosen_right(energies, (1.0, 0.2), torch.tensor([0, 0]))
    assert total == 1
    assert picks == {
        "lowest raw energy": 1,
        "Gibbs, beta = 1": 0,
        "Gibbs, fitted beta": 1,
        "sum of raw energies": 0,
        "sum of beta E": 1,
    }
    assert overall["Gibbs, beta = 1"] == 50.0


def test_the_margin_loss_is_zero_from_a_margin_of_one_on():
    model = EnergyClassifier(slice(0, 4))
    for parameter in model.parameters():
        torch.nn.init.zeros_(parameter)
    image, digit = torch.rand(3, 8, 8), torch.tensor([1, 1, 1])
    assert margin_loss(model, None, image, digit).item() == 3.0
    with torch.no_grad():
        model.network[-1].bias[1] = -0.75
    assert margin_loss(model, None, image, digit).item() == 0.75
    with torch.no_grad():
        model.network[-1].bias[1] = -1.5
    assert margin_loss(model, None, image, digit).item() == 0.0


def test_the_program_is_the_gibbs_distribution_of_its_energies():
    model, image, digit = EnergyClassifier(slice(4, 8)), torch.rand(3, 8, 8), torch.tensor([1, 0, 9])
    own = pyrometer.EnergyView(model).bind(image, digit).energy_per_datum({})
    energies = model.energies(image)
    torch.testing.assert_close(own, energies[range(3), digit] + (-energies).logsumexp(-1))
