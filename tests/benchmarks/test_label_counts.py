"""The table of label counts, against numbers written by hand; and one short training without labels."""

from pyrometer.benchmarks.label_counts import Reached, measure, report


def test_the_table_has_means_and_spreads_over_seeds_and_no_baseline_without_labels():
    reached = {
        0: [Reached(0.7, 0.6, None, 10.0), Reached(0.8, 0.6, None, 20.0)],
        100: [Reached(0.91, 0.9, 0.85, 10.0), Reached(0.93, 0.9, 0.87, 14.0)],
    }
    text = report(reached)
    assert "over 2 seeds" in text
    assert "| 0 | 75.0 ± 7.1 | 60.0 ± 0.0 |  | 15 |" in text
    assert "| 100 | 92.0 ± 1.4 | 90.0 ± 0.0 | 86.0 ± 1.4 | 12 |" in text


def test_a_training_is_measured_once_and_then_read(tmp_path):
    first = measure(0, seed=3, epochs=1, out=tmp_path)
    assert measure(0, seed=3, epochs=1, out=tmp_path) == first
    assert first.baseline is None
    assert 0.0 < first.guide < 1.0
    assert 0.0 < first.model < 1.0
