"""The idx format, in which MNIST is published: a few bytes of header, then the array in row-major order."""

import struct

import numpy as np
import torch
from torch import Tensor

_UNSIGNED_BYTE = 0x08


def parse_idx(content: bytes, source: str) -> Tensor:
    """Reads an idx array of unsigned bytes; its shape comes from the header and must account for every byte.

    Args:
        content: two zero bytes, the type (8: unsigned byte), the number of axes, each axis' length as a big-endian
            32-bit number, then the values.
        source: the file's name, for error messages.

    Returns:
        uint8, of the shape that the header says.

    Raises:
        ValueError: for anything else, naming the file and what is wrong with it.

    Reference: Y. LeCun, C. Cortes, C. Burges, The MNIST database of handwritten digits, "File formats".

    Example:
        >>> parse_idx(bytes([0, 0, 8, 1, 0, 0, 0, 3, 5, 0, 4]), "labels")
        tensor([5, 0, 4], dtype=torch.uint8)
    """
    remedy = "replace the file by an unchanged copy of the original."
    if len(content) < 4 or content[:3] != bytes([0, 0, _UNSIGNED_BYTE]):
        raise ValueError(
            f"{source} must be an idx file of unsigned bytes, which starts with the bytes 00 00 08, "
            f"got {content[:3].hex(' ') or 'nothing'}; {remedy}"
        )
    axes = content[3]
    start = 4 + 4 * axes
    if len(content) < start:
        raise ValueError(
            f"{source} must have a header of {start} bytes for its {axes} axes, got {len(content)}; {remedy}"
        )
    shape = struct.unpack_from(f">{axes}I", content, 4)
    expected = int(np.prod(shape, dtype=object))  # Python integers: a forged header cannot overflow into agreement
    if len(content) - start != expected:
        raise ValueError(
            f"{source} must hold {expected} values for its shape {shape}, got {len(content) - start}; {remedy}"
        )
    return torch.from_numpy(np.frombuffer(content, np.uint8, offset=start).reshape(shape).copy())
