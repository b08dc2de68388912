"""The code that made a run, as checksums: enough to say that it has changed since."""

import hashlib
import inspect
from pathlib import Path
from typing import Any

__all__ = ["changed_code", "code_of"]


def code_of(*parts: Any) -> dict[str, str]:
    """The sha256 of each file that defines one of the parts: functions, classes, or objects, whose classes count.

    Args:
        parts: such as a recipe's function, its model and its guide. What has no file (a notebook's cell) is left out.

    Returns:
        By the name of the module.

    Example:
        >>> list(code_of(code_of))
        ['pyrometer.recipes.code_version']
    """
    found = {}
    for part in parts:
        owner = part if inspect.isroutine(part) or inspect.isclass(part) else type(part)
        try:
            file = inspect.getsourcefile(owner)
        except TypeError:  # built in
            continue
        if file is not None and Path(file).is_file():
            found[owner.__module__] = hashlib.sha256(Path(file).read_bytes()).hexdigest()
    return found


def changed_code(then: dict[str, str], now: dict[str, str]) -> list[str]:
    """The modules whose files are others than they were, or that are no longer used."""
    return [name for name, digest in then.items() if now.get(name) != digest]
