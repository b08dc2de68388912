"""Torch's compiler in folders with spaces: its commands to the C++ compiler are written without quoting all paths.

Which of them it quotes depends on the version. All have one place where a command becomes one line; there such folders
are replaced by links to them.
"""

import os
import re
import shlex
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

from .links import awkward_part, link_to

__all__ = ["linked", "spaces_allowed"]

PATHS = "_pyrometer_paths"
"""The attribute of a builder that has the paths of its command."""

_lock = threading.Lock()
_open: list[None] = []
_patches: list[Any] = []


@contextmanager
def spaces_allowed() -> Iterator[None]:
    """A block in which torch compiles C++ also where a path has a space: of torch, Python, temporary files or caches.

    Other commands are as they were, and so is torch after the last of the blocks that are open at a time, in whichever
    threads. Where a version of torch builds its commands in another way, nothing is changed.
    """
    with _lock:
        if not _open:
            _patches.extend(_replacements())
        _open.append(None)
    try:
        yield
    finally:
        with _lock:
            _open.pop()
            while not _open and _patches:
                _patches.pop().stop()


def linked(line: str, paths: Iterable[str]) -> str:
    """The command in which the folders of these paths that have to be quoted are links, quoted or not."""
    folders = {part for path in paths if (part := awkward_part(path)) is not None}
    for folder in sorted(folders, key=len, reverse=True):
        forms = {folder, shlex.quote(folder)[1:-1]}  # the second one is inside a quoted path
        written = "|".join(re.escape(form) for form in sorted(forms, key=len, reverse=True))
        line = re.sub(rf"(?:{written})(?=[/\s'\"]|$)", link_to(folder), line)
    return line


def _replacements() -> list[Any]:
    """Patches that are in force, of the builder's constructor and of what gives its command."""
    if os.name != "posix":
        return []  # there torch quotes, and links are a privilege
    try:
        from torch._inductor.cpp_builder import CppBuilder  # here, since it takes a second

        constructor, command = _remembering(CppBuilder.__init__), _linking(CppBuilder.get_command_line)
    except (ImportError, AttributeError):
        return []
    patches = [patch.object(CppBuilder, "__init__", constructor), patch.object(CppBuilder, "get_command_line", command)]
    for one in patches:
        one.start()
    return patches


def _remembering(construct: Callable) -> Callable:
    def constructor(self: Any, name: str, sources: Any, BuildOption: Any, output_dir: str = "") -> None:  # noqa: N803
        construct(self, name, sources, BuildOption, output_dir)
        setattr(self, PATHS, _paths(name, sources, BuildOption, output_dir))

    return constructor


def _linking(command: Callable[[Any], str]) -> Callable[[Any], str]:
    def get_command_line(self: Any) -> str:
        return linked(command(self), getattr(self, PATHS, ()))

    return get_command_line


def _paths(name: str, sources: str | list[str], option: Any, output: str) -> list[str]:
    """All folders that a command names."""
    compiler = str(option.get_compiler())
    files = [name, compiler if Path(compiler).exists() else None]  # it may be a command, as "ccache g++" is
    files += [*([sources] if isinstance(sources, str) else sources), getattr(option, "precompiled_header", None)]
    folders = [str(Path(file).parent) for file in files if file]
    return [output, *option.get_include_dirs(), *option.get_libraries_dirs(), *folders]
