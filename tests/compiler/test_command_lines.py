"""Torch's compiler in folders with spaces, in a process of its own, and the commands that it writes, one by one."""

import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import pytest
import torch
from torch._inductor.cpp_builder import BuildOptionsBase, CppBuilder

from pyrometer.inference.compiler import spaces_allowed
from pyrometer.inference.compiler.command_lines import linked
from pyrometer.inference.compiler.links import link_to

COMPILING = """
import sys, warnings
from pathlib import Path
import pyro, pyro.distributions as dist, torch
from pyro.infer.autoguide import AutoNormal
from torch._inductor.cpu_vec_isa import pick_vec_isa
import pyrometer
from pyrometer.inference.energy.compiled import compiled

assert " " in torch.__file__, torch.__file__

def model(y):
    z = pyro.sample("z", dist.Normal(0.0, 2.0))
    with pyro.plate("data", len(y)):
        pyro.sample("y", dist.Normal(z, 0.7), obs=y)

if __name__ == "__main__":
    warnings.simplefilter("error", UserWarning)
    results = {}
    for compile in (True, False):
        torch.manual_seed(1)
        how = {"batch_size": 2, "epochs": 3, "seed": 4, "progress": False, "compile": compile}
        results[compile] = pyrometer.fit(model, AutoNormal(model), {"y": torch.tensor([0.3, -1.1])}, **how)
    assert results[True].engine.startswith("compiled"), results[True].engine
    torch.testing.assert_close(results[True].history[-1]["loss"], results[False].history[-1]["loss"], rtol=1e-4, atol=0)
    u = torch.linspace(-1.3, 1.7, 12).reshape(2, 2, 3)
    warnings.resetwarnings()
    evaluate = compiled(lambda u: ((u.sin() * u).sum(-1), (u * u).sum(-1)), u)
    torch.testing.assert_close(evaluate(2 * u)[0], (2 * u).sin().mul(2 * u).sum(-1))
    assert pick_vec_isa() or torch.backends.cpu.get_cpu_capability() == "DEFAULT"  # units that take several numbers
    print("compiled twice")
"""


@pytest.mark.skipif(shutil.which("g++") is None, reason="no C++ compiler is there")
def test_steps_and_paths_are_compiled_where_torch_and_all_caches_have_a_space_in_their_path(tmp_path):
    """Without links each compilation fails; that of headers beforehand is left out, which takes minutes."""
    here = tmp_path / "a-b c (it's)"
    here.mkdir()
    (here / "site packages").symlink_to(Path(torch.__file__).parents[1])
    (here / "script.py").write_text(COMPILING)
    names = {"TMPDIR": "tmp", "TORCHINDUCTOR_CACHE_DIR": "inductor's cache"}
    folders = {key: str(here / name) for key, name in names.items()}
    for folder in folders.values():
        Path(folder).mkdir()
    path = os.pathsep.join([str(here / "site packages"), *filter(None, [os.environ.get("PYTHONPATH")])])
    once = {"PYTHONPATH": path, "TORCHINDUCTOR_CPP_CACHE_PRECOMPILE_HEADERS": "0", "OMP_NUM_THREADS": "1"}
    try:
        done = subprocess.run(
            [sys.executable, "script.py"],
            cwd=here, env={**os.environ, **folders, **once}, capture_output=True, text=True, timeout=900, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert done.stdout.split("\n")[-2] == "compiled twice"
    finally:
        Path(link_to(str(here))).unlink()


class Option(BuildOptionsBase):
    """What the builder of torch is given."""

    def __init__(self, include, library, header) -> None:
        super().__init__(compiler="g++", include_dirs=[include], libraries_dirs=[library], libraries=["torch"])
        self.precompiled_header = header


@pytest.fixture
def root(tmp_path, monkeypatch):
    """A folder of links of this test's own."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


FOLDERS = [
    ("/t/a b/include", "/t/a b/lib", "/t/a b/cache/x"),
    ("/t/a b/include", "/t/a b c/lib", "/t/a b/a b"),
    ("/t/it's/include", '/t/it"s/lib', "/t/plain"),
    ("/t/a b", "/t/a b/lib d", "/t/a bc/x"),
]


def followed(line, root):
    """The words of a command, every link replaced by what it leads to."""
    words = shlex.split(line)
    for link in root.glob("pyrometer-links-*/*"):
        words = [word.replace(str(link), str(link.readlink())) for word in words]
    return words


@pytest.mark.parametrize("quoted", [True, False])
@pytest.mark.parametrize("folders", FOLDERS)
def test_a_command_whose_folders_are_linked_is_split_between_its_words(folders, quoted, root):
    """Some versions of torch quote the folders of headers, some those of libraries."""
    include, library, cache = folders
    line = " ".join(["g++", f"{cache}/x.cpp -o {cache}/x.so", f"-I{shlex.quote(include) if quoted else include}"])
    line += f" -L{shlex.quote(library) if quoted else library} -ltorch"
    words = ["g++", f"{cache}/x.cpp", "-o", f"{cache}/x.so", f"-I{include}", f"-L{library}", "-ltorch"]
    assert followed(linked(line, folders), root) == words


@pytest.mark.parametrize("folders", FOLDERS)
def test_inside_the_block_the_builder_of_torch_names_the_files_that_it_is_given(folders, root):
    include, library, cache = folders
    with spaces_allowed():
        option = Option(include, library, f"{cache}/header.h")
        builder = CppBuilder("x", [f"{cache}/x.cpp", f"{cache}/y.cpp"], option, output_dir=cache)
        found = followed(builder.get_command_line(), root)
    wanted = {f"{cache}/x.cpp", f"{cache}/y.cpp", f"{cache}/header.h", f"{cache}/x.so", f"-I{include}", f"-L{library}"}
    assert wanted <= set(found)
    assert builder.get_target_file_path() == f"{cache}/x.so"


def test_a_command_without_spaces_is_left_as_torch_writes_it(root):
    def line():
        return CppBuilder("x", "/c/x.cpp", Option("/i", "/l", None), output_dir="/c").get_command_line()

    with spaces_allowed():
        inside = line()
    assert inside == line()
    assert list(root.iterdir()) == []


def test_after_the_last_block_torch_is_as_it_was():
    """Blocks of two threads overlap; one of them ends with an error."""
    before = CppBuilder.__init__, CppBuilder.get_command_line
    entered, left = threading.Event(), threading.Event()

    def other():
        with spaces_allowed():
            entered.set()
            left.wait(60)

    def fail():
        with spaces_allowed():
            thread.start()
            entered.wait(60)
            raise RuntimeError("within")

    thread = threading.Thread(target=other)
    with pytest.raises(RuntimeError, match="within"):
        fail()
    assert (CppBuilder.__init__, CppBuilder.get_command_line) != before
    left.set()
    thread.join()
    assert (CppBuilder.__init__, CppBuilder.get_command_line) == before


def test_a_torch_that_builds_its_commands_in_another_way_is_left_alone(monkeypatch):
    monkeypatch.delattr(CppBuilder, "get_command_line")
    before = dict(vars(CppBuilder))
    with spaces_allowed():
        assert dict(vars(CppBuilder)) == before
