"""The table of confidence and accuracy, against sums by hand and simulated labels."""

import numpy as np
import pytest
import torch

from pyrometer.inference.diagnostics import plot_reliability, reliability


def drawn(size, sharpen=1.0):
    """Probabilities of four labels, and labels drawn from a power of them."""
    logits = 1.7 * torch.randn(size, 4, dtype=torch.float64)
    return logits.softmax(-1), torch.distributions.Categorical(logits=sharpen * logits).sample()


def test_the_bins_are_those_of_a_loop_in_numpy():
    probabilities, labels = drawn(103)
    table = reliability(probabilities, labels, bins=7)
    confidence, right = probabilities.amax(-1).numpy(), (probabilities.argmax(-1) == labels).numpy()
    parts = np.array_split(np.argsort(confidence), 7)
    np.testing.assert_allclose(table.bin_confidence, [confidence[part].mean() for part in parts])
    np.testing.assert_allclose(table.bin_accuracy, [right[part].mean() for part in parts])
    assert table.bin_count.values.tolist() == [len(part) for part in parts]
    ece = sum(len(part) * abs(right[part].mean() - confidence[part].mean()) for part in parts) / 103
    assert table.ece.item() == pytest.approx(ece)


def test_right_probabilities_have_the_error_that_chance_alone_gives():
    ratios = [(table := reliability(*drawn(500))).ece / table.ece_if_calibrated for _ in range(200)]
    assert np.mean(ratios) == pytest.approx(1.0, abs=4.3 * np.std(ratios) / np.sqrt(200))


def test_confidence_that_is_too_high_lies_below_the_diagonal():
    table = reliability(*drawn(4000, sharpen=0.4))
    assert table.ece > 5 * table.ece_if_calibrated
    assert (table.bin_accuracy < table.bin_confidence).all()


def test_what_are_no_probabilities_is_refused():
    with pytest.raises(ValueError, match=r"got \(3, 2\) and \(2,\)"):
        reliability(torch.full((3, 2), 0.5), torch.tensor([0, 1]))
    with pytest.raises(ValueError, match="sums from 1.2 to 1.2.*gibbs_probabilities"):
        reliability(torch.full((3, 2), 0.6), torch.tensor([0, 1, 1]))


def test_a_second_line_joins_the_first_with_one_diagonal():
    first, second = reliability(*drawn(300)), reliability(*drawn(300, sharpen=0.4))
    ax = plot_reliability(first, name="a")
    assert plot_reliability(second, ax=ax, name="b") is ax
    assert [line.get_label().split(",")[0] for line in ax.get_lines()] == ["calibrated", "a", "b"]
    assert len({line.get_color() for line in ax.get_lines()}) == 3
    np.testing.assert_array_equal(ax.get_lines()[2].get_ydata(), second.bin_accuracy)
    lowest = min(float(table[name].min()) for table in (first, second) for name in ("bin_accuracy", "bin_confidence"))
    assert ax.get_xlim()[0] < lowest
