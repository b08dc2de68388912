"""Torch's compiler of graphs: what of it is private, and the folders and the versions in which it works."""

from .command_lines import spaces_allowed
from .compile_at import compile_at
from .rehearsal import UnsafeCodeError
from .versions import too_old, untested

__all__ = ["UnsafeCodeError", "compile_at", "spaces_allowed", "too_old", "untested"]
