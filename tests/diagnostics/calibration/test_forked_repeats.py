"""Repeats in other processes: the same results, no process left, and no error lost."""

import multiprocessing
import os
import time

import pytest
import torch

from pyrometer.inference.diagnostics.calibration import forked_repeats
from pyrometer.inference.diagnostics.calibration.forked_repeats import repeated


def children():
    return multiprocessing.active_children()


@pytest.mark.parametrize("processes", [1, 2, 5, 20])
def test_results_come_in_the_order_of_the_repeats(processes):
    offset = 100  # which a closure brings along without pickling

    def task(index):
        time.sleep(0.01 * (index % 3))
        return offset + index

    assert repeated(task, 11, processes) == [100 + index for index in range(11)]
    assert children() == []


def test_a_process_computes_with_one_thread_and_this_one_keeps_its_own():
    parent, before = os.getpid(), torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        assert repeated(lambda _: (torch.get_num_threads(), os.getpid() == parent), 4, 2) == [(1, False)] * 4
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_an_error_reaches_the_caller_with_its_repeat_and_words_and_ends_all_processes():
    def task(index):
        if index == 3:
            raise ZeroDivisionError("three is not allowed")
        time.sleep(60 * (index > 3))

    with pytest.raises(RuntimeError, match="repeat 3 failed: ZeroDivisionError: three is not allowed") as caught:
        repeated(task, 8, 4)
    assert "in task" in caught.value.__notes__[0]  # where it happened
    assert children() == []


def test_an_error_in_the_only_process_is_itself():
    with pytest.raises(ZeroDivisionError):
        repeated(lambda index: 1 / index, 3, 1)


def test_a_process_that_dies_is_reported_with_its_exit_code():
    def task(index):
        if index == 1:
            os._exit(7)
        time.sleep(0.05)

    with pytest.raises(RuntimeError, match=r"a process ended after \d of 6 repeats \(exit code 7\)"):
        repeated(task, 6, 2)
    assert children() == []


def test_an_interrupt_between_two_results_leaves_no_process(monkeypatch):
    def interrupted(results, _):
        yield next(results)
        raise KeyboardInterrupt

    monkeypatch.setattr(forked_repeats, "_shown", interrupted)
    with pytest.raises(KeyboardInterrupt) as caught:
        repeated(lambda index: time.sleep(60 * (index > 0)), 4, 2)
    assert caught.traceback  # whose frames keep what they hold
    assert children() == []


def test_an_interrupt_while_waiting_leaves_no_process(monkeypatch):
    seen = []

    def interrupted(*_):
        seen.extend(children())
        raise KeyboardInterrupt

    monkeypatch.setattr(forked_repeats.multiprocessing.connection, "wait", interrupted)
    with pytest.raises(KeyboardInterrupt):
        repeated(lambda _: time.sleep(60), 4, 2)
    assert len(seen) == 2
    assert children() == []


def test_a_system_that_cannot_fork_is_told_of_one_process(monkeypatch):
    monkeypatch.setattr(forked_repeats.multiprocessing, "get_all_start_methods", lambda: ["spawn"])
    with pytest.raises(ValueError, match="processes=2 needs a system that can fork.*pass 1"):
        repeated(lambda index: index, 4, 2)
    assert repeated(lambda index: index, 2, 1) == [0, 1]


def test_a_bar_is_shown_on_a_terminal_where_it_takes_long_and_nowhere_else(monkeypatch, capsys):
    monkeypatch.setattr(forked_repeats, "PATIENCE", 0.0)
    repeated(lambda _: time.sleep(0.01), 3, 1)
    assert capsys.readouterr().err == ""
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    repeated(lambda _: time.sleep(0.01), 3, 1)
    assert "calibrating" in capsys.readouterr().err
