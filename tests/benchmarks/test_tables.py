"""The benchmarks' tables say what was reached, and whether it is enough."""

from pathlib import Path

from pyrometer.benchmarks import bfloat16, digits, mnist
from pyrometer.benchmarks.parallel_runs import Job, Reached, rows_of


def reached(test, validation=None, elbo=-100.0, cpu_seconds=None):
    return Reached(test, validation, elbo, epochs=7, seconds=30.4, cpu_seconds=cpu_seconds)


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


def test_mnist_has_errors_and_cost_for_each_number_of_labels():
    jobs = [Job({"labels": labels, "seed": seed}, None, Path()) for labels in (3000, 100) for seed in (0, 1)]
    text = mnist.report(
        jobs,
        [
            reached(0.98, 0.97, cpu_seconds=60.0),
            reached(0.96, 0.95, cpu_seconds=90.0),
            reached(0.9, 0.8),
            reached(0.94),
        ],
    )
    assert "| 3000 | 7 | 2 | **3.00 ± 1.41** | 2.00, 4.00 | 4.00 ± 1.41 | 1.2 |" in text
    assert "| 100 | 7 | 2 | **8.00 ± 2.83** | 10.00, 6.00 | 20.00 |  |" in text


def test_mnist_has_a_row_for_each_length_of_training():
    jobs = [Job({"labels": 100, "seed": 0}, epochs, Path()) for epochs in (20, 30)]
    ours = [reached(0.98)._replace(epochs=20), reached(0.99)._replace(epochs=30)]
    rows = mnist.report(jobs, ours).splitlines()[2:]
    assert [row.split(" | ")[:4] for row in rows] == [
        ["| 100", "20", "1", "**2.00**"],
        ["| 100", "30", "1", "**1.00**"],
    ]


def test_rows_that_are_asked_for():
    """Oracle: by hand, a table that has two lengths of training of one kind."""
    rows = [(100, 20), (100, 30), (6000, 8)]
    assert rows_of(rows, None, None, otherwise=20) == rows
    assert rows_of(rows, [100, 700], None, otherwise=20) == [(100, 20), (100, 30), (700, 20)]
    assert rows_of(rows, [100], 3, otherwise=20) == [(100, 3)]


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
