"""The benchmarks' tables say what was reached, and whether it is enough."""

from pathlib import Path

from pyrometer.benchmarks import bfloat16, digits, mnist
from pyrometer.benchmarks.parallel_runs import Job, Reached


def reached(test, validation=None, elbo=-100.0):
    return Reached(test=test, validation=validation, elbo=elbo, epochs=7, seconds=30.4)


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


def test_precisions_are_as_good_as_each_other_within_the_spread_over_seeds():
    single = [reached(0.98, elbo=-100.0), reached(0.96, elbo=-102.0)]
    text, good = bfloat16.report(
        {"32-true": single, "bf16": [reached(0.975, elbo=-101.0), reached(0.955, elbo=-102.5)]}
    )
    assert good
    assert "| bf16 | 2 | 96.50 ± 1.41 | -101.75 ± 1.06 | 30 |" in text
    assert "bf16 differs in accuracy by -0.50 points, where seeds spread by 1.41; and in ELBO by -0.75 nats" in text


def test_a_precision_that_is_worse_by_more_than_the_spread_is_not_enough():
    single = [reached(0.98, elbo=-100.0), reached(0.96, elbo=-102.0)]
    for worse in ([reached(0.96), reached(0.94)], [reached(0.98, elbo=-110.0), reached(0.96, elbo=-112.0)]):
        assert not bfloat16.report({"32-true": single, "bf16": worse})[1]
