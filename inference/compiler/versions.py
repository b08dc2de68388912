"""The versions of torch with which compiling is tested: older ones are refused, newer ones are tried."""

import torch

__all__ = ["too_old", "untested"]

OLDEST, NEWEST = (2, 13), (2, 14)
"""Minor versions, both tested; ``pyproject.toml`` has the first as its lower bound."""


def too_old() -> str:
    """Why nothing is compiled with this version of torch, before anything is tried; "" where it can be."""
    if _version() >= OLDEST:
        return ""
    return f"torch {torch.__version__} is here, and only torch {_words(OLDEST)} or later compiles all that steps need"


def untested() -> str:
    """That this version of torch is newer than all that are tested; "" where it is not."""
    if _version() <= NEWEST:
        return ""
    return (
        f"torch {torch.__version__} is newer than {_words(NEWEST)}, the last that compiled steps are tested with; each "
        "graph is compared with plain steps before it is used, and compile=False does without"
    )


def _version() -> tuple[int, int]:
    major, minor = torch.__version__.split(".")[:2]
    return int(major), int(minor)


def _words(version: tuple[int, int]) -> str:
    return ".".join(map(str, version))
