"""Paths that a command line can hold: links, in a folder of the user's own, to folders with spaces in their paths."""

import hashlib
import os
import shlex
import stat
import tempfile
from pathlib import Path

__all__ = ["NoLinks", "awkward_part", "link_to"]

ROOTS = ["/tmp", "/var/tmp", "/dev/shm"]
"""Where links may lie, after the folder of temporary files."""


class NoLinks(RuntimeError):  # noqa: N818 - it says what is missing, and the caller goes on without a compiler
    """There is no folder to put links into."""


def awkward_part(path: str) -> str | None:
    """The shortest parent of an absolute path (or the path itself) behind which nothing has to be quoted.

    None where the whole path is safe in a command as it is. Short parents are few, also where what is below them has a
    new name each time.
    """
    if not Path(path).is_absolute() or _is_plain(path):
        return None
    parts = Path(path).parts
    last = max(index for index, part in enumerate(parts) if not _is_plain(part))
    return str(Path(*parts[: last + 1]))


def link_to(folder: str) -> str:
    """The path of a link to the folder, the same each time, with nothing in it that has to be quoted.

    Raises:
        NoLinks: no folder for links can be made.
    """
    link = _place() / hashlib.sha256(os.fsencode(folder)).hexdigest()[:16]
    try:
        link.symlink_to(folder)
    except FileExistsError:
        if (
            not link.is_symlink() or str(link.readlink()) != folder
        ):  # somebody of the same name has put something else there
            raise NoLinks(f"{link} is to be a link to {folder!r} and is something else: remove it") from None
    except OSError as error:
        raise NoLinks(f"no link can be made in {link.parent} ({error.strerror})") from error
    return str(link)


def _is_plain(text: str) -> bool:
    """A shell reads the text as itself."""
    try:
        return shlex.split(text) == [text]
    except ValueError:
        return False


def _place() -> Path:
    """A folder that nobody else can write to, made where it is missing."""
    roots = dict.fromkeys([tempfile.gettempdir(), *ROOTS])
    for root in filter(_is_plain, roots):
        folder = Path(root) / f"pyrometer-links-{_user()}"
        try:
            folder.mkdir(mode=0o700, exist_ok=True)
            if _is_private(folder):
                return folder
        except OSError:
            continue
    raise NoLinks(
        "torch's compiler cannot be given a path with a space, and links to such folders can be made in none of "
        f"{', '.join(map(repr, roots))}: set TMPDIR to a folder that you can write to and whose path has no space"
    )


def _is_private(folder: Path) -> bool:
    """It is a folder, no link to one, of this user's, and closed to all others."""
    about = folder.lstat()
    return stat.S_ISDIR(about.st_mode) and about.st_uid == _user() and not about.st_mode & 0o077


def _user() -> int:
    return os.getuid()
