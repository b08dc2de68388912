"""Links to folders with spaces: what is linked, where links lie, and who else could have put them there."""

import os
import shlex
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pyrometer.inference.compiler import links
from pyrometer.inference.compiler.links import NoLinks, awkward_part, link_to


@pytest.fixture
def roots(tmp_path, monkeypatch):
    """Two folders that are looked into for a place, the first of which has a space."""
    monkeypatch.setattr(links, "ROOTS", [str(tmp_path / "plain")])
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "with space"))
    for name in ("plain", "with space", "own"):
        tmp_path.joinpath(name).mkdir()
    return tmp_path / "plain"


def place(root):
    return root / f"pyrometer-links-{os.getuid()}"


@pytest.mark.parametrize(
    ("path", "part"),
    [
        ("/usr/lib", None),
        ("/usr/lib/größe+1,2=3@4%5~", None),
        ("relative with space", None),
        ("g++ -m64", None),
        ("/tmp/a b", "/tmp/a b"),
        ("/tmp/a b/c/d", "/tmp/a b"),
        ("/tmp/a b/c/d e/f", "/tmp/a b/c/d e"),
        ("/it's/x", "/it's"),
        ('/a"b"/x', '/a"b"'),
        ("/back\\slash/x", "/back\\slash"),
        ("/tab\there", "/tab\there"),
    ],
)
def test_what_a_command_splits_is_linked_and_what_is_below_it_is_not(path, part):
    """The oracle is the splitting itself, which torch does to its commands."""
    assert awkward_part(path) == part
    if part is not None:
        assert shlex.split("x" + path.removeprefix(part)) == ["x" + path.removeprefix(part)]


def test_a_link_leads_to_its_folder_and_is_the_same_each_time(roots, tmp_path):
    target = tmp_path / "a folder" / "deeper"
    target.mkdir(parents=True)
    (target / "file").write_text("found")
    link = link_to(str(target))
    assert Path(link, "file").read_text() == "found"
    assert Path(link).parent == place(roots)
    assert shlex.split(link.removeprefix(str(tmp_path))) == [link.removeprefix(str(tmp_path))]
    assert link_to(str(target)) == link != link_to(str(target.parent))


def test_only_the_user_can_enter_the_folder_of_links(roots, tmp_path):
    before = os.umask(0)
    try:
        link_to(str(tmp_path / "own"))
    finally:
        os.umask(before)
    assert place(roots).stat().st_mode & 0o777 == 0o700


def test_many_at_a_time_make_one_link(roots, tmp_path):
    with ThreadPoolExecutor(16) as pool:
        made = list(pool.map(lambda _: link_to(str(tmp_path / "own")), range(200)))
    assert len(set(made)) == len(list(place(roots).iterdir())) == 1


@pytest.mark.parametrize("prepared", ["open to others", "a link", "a file"])
def test_a_folder_that_others_may_have_prepared_is_not_used(roots, tmp_path, prepared):
    if prepared == "open to others":
        place(roots).mkdir()
        place(roots).chmod(0o755)
    elif prepared == "a link":
        tmp_path.joinpath("own").chmod(0o700)
        place(roots).symlink_to(tmp_path / "own")
    else:
        place(roots).write_text("")
    with pytest.raises(NoLinks, match="set TMPDIR to a folder that you can write to and whose path has no space"):
        link_to(str(tmp_path / "own"))
    assert list(tmp_path.joinpath("own").iterdir()) == []


@pytest.mark.parametrize("other", [True, False])
@pytest.mark.usefixtures("roots")
def test_a_link_that_leads_elsewhere_is_refused(tmp_path, other):
    link = Path(link_to(str(tmp_path / "own")))
    link.unlink()
    if other:
        link.symlink_to(tmp_path)
    else:
        link.mkdir()
    with pytest.raises(NoLinks, match="is to be a link to"):
        link_to(str(tmp_path / "own"))


def test_the_folder_of_another_user_is_not_used(roots, tmp_path, monkeypatch):
    mine = os.getuid()
    place(roots).mkdir(mode=0o700)
    monkeypatch.setattr(links, "_user", lambda: mine + 1)
    roots.joinpath(f"pyrometer-links-{mine + 1}").mkdir(mode=0o700)
    with pytest.raises(NoLinks):
        link_to(str(tmp_path / "own"))
