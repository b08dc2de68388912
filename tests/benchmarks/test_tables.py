"""The benchmarks' tables say what was reached, and whether it is enough."""

from pathlib import Path

from pyrometer.benchmarks import digits, mnist
from pyrometer.benchmarks.parallel_runs import Job, Reached


def reached(test, validation=None):
    return Reached(test=test, validation=validation, epochs=7, seconds=30.4)


def baselines(logistic):
    return {"logistic regression": logistic, "label spreading": 0.75}


def test_digits_are_reported_by_seed_with_mean_and_spread():
    text, beaten = digits.report([3, 4], [reached(0.9), reached(0.8)], [baselines(0.5), baselines(0.7)])
    assert beaten
    assert "| 3 | 90.0 | 50.0 | 75.0 | 30 |" in text
    assert "| mean ± sd | 85.0 ± 7.1 | 60.0 ± 14.1 | 75.0 ± 0.0 | 30 |" in text
    assert "10.0 to 40.0 points; above it on 2 of 2 splits" in text


def test_one_split_below_logistic_regression_is_not_enough():
    text, beaten = digits.report([3, 4], [reached(0.9), reached(0.8)], [baselines(0.5), baselines(0.8)])
    assert not beaten
    assert "above it on 1 of 2 splits" in text


def test_mnist_has_a_mean_for_each_number_of_labels():
    jobs = [Job({"labels": labels, "seed": seed}, None, Path()) for labels in (3000, 100) for seed in (0, 1)]
    text = mnist.report(jobs, [reached(0.98, 0.97), reached(0.96, 0.95), reached(0.9, 0.8), reached(0.94, 0.84)])
    assert "| 3000 | 7 | 1 | 96.00 | 95.00 | 30 |" in text
    assert "| **3000** | **7** | **mean ± sd** | **97.0 ± 1.4** | **96.0 ± 1.4** | **30** |" in text
    assert "**92.0 ± 2.8** | **82.0 ± 2.8**" in text
