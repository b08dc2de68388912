"""Gradients of processes meet in tensors that lie in one memory, each with a storage of its own.

What two real processes do with them is in test_parallel_compiled.py.
"""

import errno
import os

import pytest
import torch
from torch import nn

from pyrometer.inference.svi import exchange
from pyrometer.inference.svi.exchange import SharedMemory, SummedBuffer, make_exchange


class Alone:
    """The one process of one."""

    count, rank = 1, 0

    def told(self, call):
        return call()

    def gathered_numbers(self, *numbers):
        return torch.tensor([numbers], dtype=torch.float64)

    def total(self, value, error=None):
        if error is not None:
            raise error
        return value

    def add_up(self, value):
        """There is nobody else."""


def leaves():
    return [nn.Parameter(torch.zeros(shape, dtype=dtype)) for shape, dtype in SHAPES]


SHAPES = [((3, 2), torch.float32), ((), torch.float32), ((0, 4), torch.float32), ((5,), torch.bfloat16)]


@pytest.mark.parametrize("most", [8, 0])
def test_what_is_left_before_a_meeting_is_found_after_it(most, monkeypatch):
    """Three steps, so that both places of common memory are used; every tensor is written whole."""
    monkeypatch.setattr(exchange, "MOST", most)
    meeting = make_exchange(Alone(), leaves())
    assert isinstance(meeting, SharedMemory if most else SummedBuffer)
    for step in range(3):
        for index, place in enumerate(meeting.own):
            place.fill_(10 * step + index)
        assert meeting.total(2.5) == 2.5
        ((*found,),) = meeting.parts
        assert [tuple(one.shape) for one in found] == [shape for shape, _ in SHAPES]
        assert [one.dtype for one in found] == [torch.float32] * 4
        for index, one in enumerate(found):
            assert (one == 10 * step + index).all()


def test_who_is_ahead_by_a_step_writes_where_nobody_reads():
    meeting = make_exchange(Alone(), leaves())
    meeting.own[0].fill_(1.0)
    meeting.total(0.0)
    meeting.own[0].fill_(2.0)
    assert (meeting.parts[0][0] == 1.0).all()


@pytest.mark.parametrize("most", [8, 0])
def test_no_two_tensors_have_a_storage_in_common(most, monkeypatch):
    """A compiler would take them for views of one, and write all of it for each."""
    monkeypatch.setattr(exchange, "MOST", most)
    meeting = make_exchange(Alone(), leaves())
    assert len({one.untyped_storage()._cdata for one in meeting.own}) == len(SHAPES)


@pytest.mark.parametrize("most", [8, 0])
def test_an_error_is_raised_at_the_meeting(most, monkeypatch):
    monkeypatch.setattr(exchange, "MOST", most)
    meeting = make_exchange(Alone(), leaves())
    with pytest.raises(ValueError, match="has had enough"):
        meeting.total(1.0, ValueError("this process has had enough."))


def test_where_memory_is_full_gradients_are_summed_and_no_file_is_left(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "no space left")

    monkeypatch.setattr(exchange, "SHARED", tmp_path)
    monkeypatch.setattr(os, "posix_fallocate", full)
    assert isinstance(make_exchange(Alone(), leaves()), SummedBuffer)
    assert list(tmp_path.iterdir()) == []


def test_where_files_are_never_memory_gradients_are_summed(tmp_path, monkeypatch):
    monkeypatch.setattr(exchange, "SHARED", tmp_path / "nowhere")
    assert isinstance(make_exchange(Alone(), leaves()), SummedBuffer)
