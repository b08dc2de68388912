"""MNIST: 60,000 training and 10,000 test images of handwritten digits, 28 x 28, found on disk or downloaded."""

import gzip
import hashlib
import http.client
import os
import tempfile
import zlib
from pathlib import Path
from urllib.request import urlopen

import torch
from platformdirs import user_cache_path

from .idx import parse_idx
from .images import ImageDataset, TrainTest

# sha256 of the uncompressed bytes: a copy that was compressed again is as good as the original.
DIGESTS = {
    "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}
MIRRORS = ("https://storage.googleapis.com/cvdf-datasets/mnist", "https://ossci-datasets.s3.amazonaws.com/mnist")
TIMEOUT_SECONDS = 30


def mnist(root: str | os.PathLike[str] | None = None, download: bool = True) -> TrainTest:
    """The training and the test images, pixels in [0, 1], from the first folder that has each file.

    Looks in ``root``, in ``$PYROMETER_DATA/mnist`` and in the user's cache, for the raw idx files or their ``.gz``;
    what none of them has is downloaded into ``root`` (the cache without one). Every file is checked against the sha256
    of the published bytes, so it does not matter where it came from.

    Args:
        root: a folder of your own, looked in first.
        download: whether what is missing may be fetched from a public mirror.

    Raises:
        ValueError: for a file that is damaged or is not MNIST's, naming it and both digests. It is never passed over.
        FileNotFoundError: where a file is nowhere and ``download`` is false.
        ConnectionError: where no mirror gave the file, with what each answered.

    Reference: Y. LeCun, L. Bottou, Y. Bengio, P. Haffner (1998), Gradient-based learning applied to document
    recognition, Proceedings of the IEEE 86(11), https://doi.org/10.1109/5.726791

    Example (skipped here, since it reads 11 MB that may have to be downloaded):
        >>> mnist()  # doctest: +SKIP
        TrainTest(train=ImageDataset(60000 images of 28 x 28), test=ImageDataset(10000 images of 28 x 28))
    """
    folders = _folders(root)
    keep = (folders[0] if root is not None else folders[-1]) if download else None
    content = {name: _content(name, folders, keep) for name in DIGESTS}
    return TrainTest(_dataset(content, "train"), _dataset(content, "t10k"))


def _folders(root: str | os.PathLike[str] | None) -> list[Path]:
    """Where to look, in order: the caller's folder, the environment's, the cache."""
    data = os.environ.get("PYROMETER_DATA")
    chosen = [Path(root).expanduser()] if root is not None else []
    shared = [Path(data).expanduser() / "mnist"] if data else []
    return [*chosen, *shared, user_cache_path("pyrometer") / "mnist"]


def _content(name: str, folders: list[Path], keep: Path | None) -> bytes:
    """The uncompressed, verified bytes of one file; ``keep`` is where a download goes, ``None`` to refuse one."""
    for folder in folders:
        for path in (folder / name, folder / f"{name}.gz"):
            if path.is_file():
                return _verified(name, path.read_bytes(), str(path))
    if keep is None:
        looked = ", ".join(map(str, folders))
        raise FileNotFoundError(
            f"MNIST's {name} must be in one of {looked}, raw or as .gz, but is in none; put it there, set "
            "PYROMETER_DATA to the folder that holds mnist/, or allow the download."
        )
    return _downloaded(name, keep)


def _verified(name: str, stored: bytes, source: str) -> bytes:
    """Uncompresses ``stored`` where it is gzip and checks the digest; ``source`` is named in the refusal."""
    remedy = f"remove it, so that it can be fetched anew, or put the original {name} in its place."
    content = stored
    if stored[:2] == b"\x1f\x8b":  # gzip's mark, whatever the file is called
        try:
            content = gzip.decompress(stored)
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise ValueError(
                f"{source} must be a whole gzip file, got {len(stored)} bytes that are damaged or cut short "
                f"({error}); {remedy}"
            ) from error
    got = hashlib.sha256(content).hexdigest()
    if got != DIGESTS[name]:
        raise ValueError(
            f"{source} must hold MNIST's {name}, whose uncompressed bytes have the sha256 {DIGESTS[name]}, "
            f"got {got}; {remedy}"
        )
    return content


def _downloaded(name: str, folder: Path) -> bytes:
    """Fetches one file from the first mirror that has it, and keeps it, compressed, in ``folder``."""
    answers = []
    for mirror in MIRRORS:
        url = f"{mirror}/{name}.gz"
        try:
            with urlopen(url, timeout=TIMEOUT_SECONDS) as response:
                stored = response.read()
            content = _verified(name, stored, url)
        except (OSError, http.client.HTTPException, ValueError) as error:
            answers.append(f"{url}: {error}")
            continue
        _write(folder / f"{name}.gz", stored)
        return content
    raise ConnectionError(
        f"MNIST's {name} must come from one of {len(MIRRORS)} mirrors, but none gave it ({'; '.join(answers)}); "
        f"try again later, or put the file, raw or as .gz, into {folder}."
    )


def _write(path: Path, stored: bytes) -> None:
    """Writes the whole file or none of it: an interrupted download must not leave a damaged one to be found."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=path.name)
    partial = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(stored)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _dataset(content: dict[str, bytes], part: str) -> ImageDataset:
    """One part's images, scaled by 1/255, beside its labels."""
    image, digit = (parse_idx(content[name], name) for name in DIGESTS if name.startswith(part))
    return ImageDataset(image.to(torch.float32) / 255, digit.to(torch.int64))
