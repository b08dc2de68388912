"""The idx reader against arrays written by hand, byte for byte after the format's description."""

import struct

import pytest
import torch

from pyrometer.data.idx import parse_idx

VALUES = bytes(range(24))
HEADER = bytes([0, 0, 8, 3]) + struct.pack(">3I", 2, 3, 4)


def test_values_come_in_row_major_order() -> None:
    array = parse_idx(HEADER + VALUES, "images")
    assert array.dtype == torch.uint8
    assert torch.equal(array, torch.arange(24, dtype=torch.uint8).reshape(2, 3, 4))


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"", "got nothing"),
        (b"\x00\x00\x08", "got 00 00 08"),
        (b"\x89PNG" + VALUES, "got 89 50 4e"),
        (bytes([0, 0, 13, 1]) + struct.pack(">I", 1) + bytes(4), "got 00 00 0d"),  # floats
        (HEADER[:9], "header of 16 bytes for its 3 axes, got 9"),
        (HEADER + VALUES[:-1], r"24 values for its shape \(2, 3, 4\), got 23"),
        (HEADER + VALUES + b"\x00", r"24 values for its shape \(2, 3, 4\), got 25"),
        # Four lengths of 65,536 multiply to 2 ** 64, which is 0 in 64 bits: it must not agree with no values.
        (bytes([0, 0, 8, 4]) + struct.pack(">4I", *[65536] * 4), "18446744073709551616 values"),
    ],
)
def test_what_is_no_idx_file_of_bytes_is_refused_by_name(content: bytes, complaint: str) -> None:
    with pytest.raises(ValueError, match=rf"some-file must .*{complaint}.*replace the file"):
        parse_idx(content, "some-file")
