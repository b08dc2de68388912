"""MNIST from disk and from mirrors, with small files of made-up digits in place of the real ones, and no network."""

import gzip
import hashlib
import importlib
import io
import re
import struct
from collections.abc import Callable
from http.client import IncompleteRead
from pathlib import Path
from urllib.error import URLError

import pytest
import torch

from pyrometer.data import mnist

MODULE = importlib.import_module("pyrometer.data.mnist")  # by name: pyrometer.data.mnist is the function
SIZES = {"train": 7, "t10k": 4}


def made_up(name: str) -> bytes:
    """An idx file in MNIST's form: images of 2 x 3 that count up, labels that count down."""
    size = SIZES[name.split("-")[0]]
    if "images" in name:
        return bytes([0, 0, 8, 3]) + struct.pack(">3I", size, 2, 3) + bytes(range(6 * size))
    return bytes([0, 0, 8, 1]) + struct.pack(">I", size) + bytes(9 - i for i in range(size))


FILES = {name: made_up(name) for name in MODULE.DIGESTS}
FIRST = next(iter(FILES))


@pytest.fixture(autouse=True)
def small_mnist(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The made-up files are the genuine ones, the cache is empty, nothing is set, and the network is not there."""
    monkeypatch.setattr(MODULE, "DIGESTS", {name: hashlib.sha256(data).hexdigest() for name, data in FILES.items()})
    monkeypatch.setattr(MODULE, "user_cache_path", lambda name: tmp_path / "cache" / name)
    monkeypatch.delenv("PYROMETER_DATA", raising=False)
    serve(monkeypatch, unreachable)


def unreachable(url: str) -> bytes:
    """What a machine without a network answers."""
    raise URLError(f"no route to {url}")


def serve(monkeypatch: pytest.MonkeyPatch, answer: Callable[[str], bytes]) -> list[str]:
    """Answers every download by ``answer(url)``, and lists the addresses asked for."""
    asked: list[str] = []

    def urlopen(url: str, timeout: float) -> io.BytesIO:
        assert 0 < timeout <= 60
        asked.append(url)
        return io.BytesIO(answer(url))

    monkeypatch.setattr(MODULE, "urlopen", urlopen)
    return asked


def genuine(url: str) -> bytes:
    """What a good mirror answers."""
    return gzip.compress(FILES[url.rsplit("/", 1)[-1].removesuffix(".gz")])


def store(folder: Path, suffix: str = "") -> Path:
    """Writes all four files, raw or compressed."""
    folder.mkdir(parents=True)
    for name, data in FILES.items():
        (folder / f"{name}{suffix}").write_bytes(gzip.compress(data) if suffix else data)
    return folder


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_raw_and_compressed_files_give_the_same_images_and_labels(tmp_path: Path, suffix: str) -> None:
    train, test = mnist(store(tmp_path / "mine", suffix), download=False)
    assert torch.equal(train.image * 255, torch.arange(42.0).reshape(7, 2, 3))
    assert train.digit.tolist() == [9, 8, 7, 6, 5, 4, 3]
    assert (test.image.shape, test.image.dtype, test.digit.dtype) == ((4, 2, 3), torch.float32, torch.int64)


def test_a_copy_compressed_in_another_way_is_as_good(tmp_path: Path) -> None:
    folder = store(tmp_path / "mine", ".gz")
    (folder / f"{FIRST}.gz").write_bytes(gzip.compress(FILES[FIRST], compresslevel=0, mtime=77))
    assert len(mnist(folder, download=False).train) == 7


def test_the_callers_folder_comes_before_the_environments_and_the_cache_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seen by damage: a folder is read exactly if spoiling its first file is noticed."""
    cache, shared, mine = (store(tmp_path / place) for place in ("cache/pyrometer/mnist", "shared/mnist", "mine"))
    monkeypatch.setenv("PYROMETER_DATA", str(tmp_path / "shared"))
    for folder, root in ((mine, mine), (shared, None)):
        (folder / FIRST).write_bytes(b"spoilt")
        with pytest.raises(ValueError, match=re.escape(str(folder / FIRST))):
            mnist(root, download=False)
        (folder / FIRST).unlink()
        assert len(mnist(root, download=False).test) == 4  # from the next folder in the order
    (cache / FIRST).unlink()
    with pytest.raises(FileNotFoundError):
        mnist(mine, download=False)


def test_a_wrong_file_is_refused_with_both_digests_and_never_replaced_by_a_download(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = serve(monkeypatch, genuine)
    folder = store(tmp_path / "mine")
    wrong = bytearray(FILES[FIRST])
    wrong[-1] ^= 1
    (folder / FIRST).write_bytes(wrong)
    expected, got = (hashlib.sha256(data).hexdigest() for data in (FILES[FIRST], wrong))
    with pytest.raises(
        ValueError, match=rf"{re.escape(str(folder / FIRST))} .*sha256 {expected}, got {got}; remove it"
    ):
        mnist(folder)
    assert asked == []


@pytest.mark.parametrize("kept", [5, 18, 40])
def test_a_gzip_file_that_is_cut_short_is_refused_as_such(tmp_path: Path, kept: int) -> None:
    folder = store(tmp_path / "mine", ".gz")
    path = folder / f"{FIRST}.gz"
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(
        ValueError, match=rf"{re.escape(str(path))} must be a whole gzip file, got {kept} bytes .*; remove it"
    ):
        mnist(folder, download=False)


def test_a_gzip_file_with_a_damaged_byte_is_refused(tmp_path: Path) -> None:
    folder = store(tmp_path / "mine", ".gz")
    path = folder / f"{FIRST}.gz"
    stored = bytearray(path.read_bytes())
    stored[len(stored) // 2] ^= 0xFF
    path.write_bytes(stored)
    with pytest.raises(ValueError, match=rf"{re.escape(str(path))} must .*; remove it"):
        mnist(folder, download=False)


def test_a_missing_file_without_download_names_the_folders_and_the_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = serve(monkeypatch, genuine)
    monkeypatch.setenv("PYROMETER_DATA", str(tmp_path / "shared"))
    with pytest.raises(FileNotFoundError, match=f"{FIRST} must be in one of .*mine, .*shared/mnist, .*cache.*download"):
        mnist(tmp_path / "mine", download=False)
    assert asked == []


@pytest.mark.parametrize(("root", "place"), [("mine", "mine"), (None, "cache/pyrometer/mnist")])
def test_what_is_missing_is_downloaded_once_and_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, root: str | None, place: str
) -> None:
    asked = serve(monkeypatch, genuine)
    folder = tmp_path / root if root else None
    first = mnist(folder)
    assert asked == [f"{MODULE.MIRRORS[0]}/{name}.gz" for name in FILES]
    assert sorted(path.name for path in (tmp_path / place).iterdir()) == sorted(f"{name}.gz" for name in FILES)
    serve(monkeypatch, unreachable)
    assert torch.equal(mnist(folder).train.image, first.train.image)


@pytest.mark.parametrize(
    "answer",
    [b"<html>moved</html>", gzip.compress(b"another file"), URLError("no route"), TimeoutError(), IncompleteRead(b"")],
    ids=["a page", "another file", "no route", "no answer", "half an answer"],
)
def test_a_mirror_that_fails_or_lies_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: bytes | Exception
) -> None:
    def only_the_second_is_good(url: str) -> bytes:
        if not url.startswith(MODULE.MIRRORS[0]):
            return genuine(url)
        if isinstance(answer, Exception):
            raise answer
        return answer

    serve(monkeypatch, only_the_second_is_good)
    assert len(mnist(tmp_path / "mine").train) == 7


def test_no_mirror_gives_one_error_with_each_answer_and_nothing_written(tmp_path: Path) -> None:
    with pytest.raises(ConnectionError, match=f"{FIRST} must come from one of 2 mirrors") as refusal:
        mnist(tmp_path / "mine")
    for mirror in MODULE.MIRRORS:
        assert f"no route to {mirror}" in str(refusal.value)
    assert not (tmp_path / "mine").exists()


def test_a_write_that_breaks_off_leaves_no_file_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full_disk(source: Path, target: Path) -> Path:
        raise OSError(f"no space left for {source} -> {target}")

    serve(monkeypatch, genuine)
    monkeypatch.setattr(Path, "replace", full_disk)
    with pytest.raises(OSError, match="no space left"):
        mnist(tmp_path / "mine")
    assert list((tmp_path / "mine").iterdir()) == []
