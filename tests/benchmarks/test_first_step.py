"""What auto loses is known where the times of a program are."""

import pytest

from pyrometer.benchmarks.first_step import regret, report

SLOW = {"plain": 0.010, "compiled": 0.002, "first": 8.0, "auto": {"10": False, "100": True, "1000": True}}


def test_what_auto_loses_is_its_time_over_that_of_the_better_way():
    """Plain 0.1 s at 10 steps; at 100 steps plain takes 1 s, compiled 8.2 s; at 1,000 plain 10 s, compiled 10 s."""
    assert regret(SLOW, 10) == pytest.approx(1.0)
    assert regret(SLOW, 100) == pytest.approx(8.2)
    assert regret(SLOW, 1000) == pytest.approx(1.0)


def test_the_report_has_medians_and_says_where_processes_chose_differently():
    lengths = {str(steps): False for steps in (10, 100, 1_000, 10_000, 100_000)}
    runs = [{**SLOW, "first": first, "auto": {**lengths, "10000": first < 9}} for first in (8.0, 12.0, 9.0)]
    text = report({"vae": runs}, {"vae": [{**one, "first": 1.0} for one in runs]})
    assert "| vae | 9.0 | 1.0 | 10 | 2 |" in text
    assert "| vae | empty | 1.00 plain | 1.00 plain | 1.00 plain | 3.12 either | 4.78 plain |" in text
