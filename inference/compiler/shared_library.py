"""Small libraries in C++ of this package's own: built once, kept where torch keeps compiled code."""

import hashlib
import os
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

__all__ = ["built_library"]


def built_library(name: str, source: str, options: Sequence[str] = ()) -> Path:
    """The shared library of a source, which is built where there is none of this very source and these options.

    Args:
        name: the beginning of its file's name.
        source: C++.
        options: of the compiler, after the file, where the names of libraries have to be.

    Raises:
        subprocess.CalledProcessError: the compiler fails.
        OSError: there is none, or the folder cannot be written to.
    """
    from torch._inductor.cpp_builder import get_cpp_compiler  # here, since the import takes seconds
    from torch._inductor.runtime.cache_dir_utils import cache_dir

    key = hashlib.sha256("\n".join([source, *options]).encode()).hexdigest()[:16]
    folder = Path(cache_dir()) / "pyrometer"
    library = folder / f"{name}_{key}.so"
    if library.exists():
        return library

    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as work:
        code, result = Path(work) / f"{name}.cpp", Path(work) / f"{name}.so"
        code.write_text(source)
        command = [get_cpp_compiler(), "-shared", "-fPIC", str(code), "-o", str(result), *options]
        subprocess.run(command, check=True, capture_output=True)
        os.replace(result, library)  # noqa: PTH105 - whole, or not at all, for whoever builds it at the same time
    return library
