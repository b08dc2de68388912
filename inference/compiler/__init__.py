"""Torch's compiler of graphs: what of it is private, and the folders and the versions in which it works."""

from .command_lines import spaces_allowed

__all__ = ["spaces_allowed"]
