"""The house stands as CONTRIBUTING.md draws it: who imports whom, what a file is called, what a package offers.

Each rule is a function from a source to its violations, so that it can be shown to catch one.
"""

import ast
import importlib
import importlib.metadata
import inspect
import re
import sys
import tomllib
from collections import Counter
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PACKAGES: list[str] = PROJECT["tool"]["setuptools"]["packages"]
NOT_OURS = {"build", "dist", "runs"}
MOST_LINES = 400
NAMELESS = {"base", "common", "helpers", "misc", "utils"}

INFERENCE = {
    *("inference", "inference.arviz_versions", "inference.compiler", "inference.energy", "inference.svi"),
    "inference.diagnostics",
}
MAY_IMPORT = {
    "networks": set(),
    "data": set(),
    "models": {"networks"},
    "guides": {"networks"},
    "inference": INFERENCE,
    "inference.arviz_versions": set(),
    "inference.compiler": set(),
    "inference.energy": {"inference.arviz_versions", "inference.compiler"},
    "inference.svi": {"inference.compiler", "inference.energy"},
    "inference.diagnostics": {"inference.arviz_versions", "inference.energy", "inference.svi"},
    "recipes": {"networks", "data", "models", "guides"} | INFERENCE,
}
PUBLIC = "the public surface"  # pyrometer/__init__.py
TOP = "the commands"  # the other modules in the root: cli, demo, __main__
MAY_IMPORT[PUBLIC] = set(MAY_IMPORT)
MAY_IMPORT[TOP] = set(MAY_IMPORT) | {TOP}
MAY_PRINT_AND_SEED = {"cli", "demo", "__main__"}
GLOBAL_SWITCHES = {
    *("numpy.random.seed", "np.random.seed", "random.seed", "pyro.set_rng_seed", "torch.manual_seed"),
    *("torch.set_default_dtype", "torch.set_default_device", "torch.set_num_threads", "torch.set_grad_enabled"),
    *("pyro.enable_validation", "pyro.clear_param_store", "warnings.filterwarnings", "warnings.simplefilter"),
}
RESTORING = {"catch_warnings", "fork_rng", "preserved_random_state"}  # blocks that put back what is switched inside
UNSAFE_MODULES = {"cloudpickle", "dill", "joblib", "marshal", "pickle", "shelve"}


class Module(NamedTuple):
    """One source file: ``name`` is absolute, ``package`` what a single leading dot means in it."""

    name: str
    package: str
    tree: ast.Module


def module(name: str, source: str, is_package: bool = False) -> Module:
    """A module, real or made up, from its source."""
    return Module(name, name if is_package else name.rpartition(".")[0], ast.parse(source))


def modules() -> list[Module]:
    """The package's modules, read and not imported."""
    found = []
    for package in PACKAGES:
        for path in sorted(ROOT.joinpath(*package.split(".")[1:]).glob("*.py")):
            is_package = path.stem == "__init__"
            found.append(module(package if is_package else f"{package}.{path.stem}", path.read_text(), is_package))
    return found


def python_files() -> list[Path]:
    """Every Python file of the repository, from its root; what is hidden or made by a tool is not entered."""
    folders = (path for path in ROOT.iterdir() if path.is_dir() and path.name not in NOT_OURS)
    deeper = (path for folder in folders if not folder.name.startswith(".") for path in folder.rglob("*.py"))
    return sorted(path.relative_to(ROOT) for path in (*ROOT.glob("*.py"), *deeper))


def room(name: str) -> str:
    """The key of `MAY_IMPORT` that a module falls under: the longest, so that inference's three are told apart."""
    parts = name.split(".")[1:]
    if not parts:
        return PUBLIC
    if (len(parts) == 1 and parts[0] not in MAY_IMPORT) or (ROOT / f"{parts[0]}.py").exists():
        return TOP
    return next((key for n in (2, 1) if (key := ".".join(parts[:n])) in MAY_IMPORT), name)


def imports(source: Module) -> Iterator[str]:
    """The absolute name of everything imported, wherever in the file; ``from m import n`` gives ``m.n``."""
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = source.package.rsplit(".", node.level - 1)[0] if node.level else ""
            start = ".".join(filter(None, (above, node.module)))
            yield from (f"{start}.{alias.name}" for alias in node.names)


def wrong_arrows(source: Module) -> list[str]:
    """Imports that run against the arrows."""
    ours = [name for name in imports(source) if name.split(".")[0] == "pyrometer"]
    here, known = room(source.name), set(MAY_IMPORT)
    if here not in known:
        return [f"{source.name} is in no room that MAY_IMPORT has an entry for"]
    return [f"{source.name} imports {name}" for name in ours if room(name) not in MAY_IMPORT[here] | {here}]


def absolute_imports(source: Module) -> list[str]:
    """Imports of ourselves by name, which would reach another copy where one is installed."""
    nodes = (node for node in ast.walk(source.tree) if isinstance(node, ast.Import | ast.ImportFrom))
    named = [
        name
        for node in nodes
        for name in ([alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""])
        if not getattr(node, "level", 0)
    ]
    return [f"{source.name} imports {name}" for name in named if name.split(".")[0] == "pyrometer"]


@cache
def distributions() -> Mapping[str, list[str]]:
    """The distributions that bring each importable name, read once: that takes half a second."""
    return importlib.metadata.packages_distributions()


def undeclared(source: Module, declared: set[str]) -> list[str]:
    """Third-party imports that no dependency of pyproject.toml brings."""
    providers = distributions()
    foreign = {name.split(".")[0] for name in imports(source)} - set(sys.stdlib_module_names) - {"pyrometer"}
    brought = {name for name in foreign if {normal(one) for one in providers.get(name, [])} & declared}
    return [f"{source.name} imports {name}" for name in sorted(foreign - brought)]


def normal(distribution: str) -> str:
    """A distribution's name as indices compare it, without versions or extras."""
    return re.sub(r"[-_.]+", "-", re.split(r"[\s<>=!~\[;]", distribution)[0]).lower()


def dotted(node: ast.expr) -> str:
    """``a.b.c`` of a chain of attributes."""
    return f"{dotted(node.value)}.{node.attr}" if isinstance(node, ast.Attribute) else getattr(node, "id", "")


def calls(source: Module) -> Iterator[tuple[str, dict[str | None, ast.expr]]]:
    """Each call's dotted name and keywords."""
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Call):
            yield dotted(node.func), {keyword.arg: keyword.value for keyword in node.keywords}


def unsafe_loading(source: Module) -> list[str]:
    """Ways of reading a file that can run code from it."""
    wrong = [f"imports {name}" for name in imports(source) if name.split(".")[0] in UNSAFE_MODULES]
    for name, keywords in calls(source):
        safe = isinstance(value := keywords.get("weights_only"), ast.Constant) and value.value is True
        if "weights_only" in keywords and not safe:
            wrong.append(f"{name} without weights_only=True")
        if name == "torch.load" and "weights_only" not in keywords:
            wrong.append("torch.load that leaves weights_only to the version")
        if "allow_pickle" in keywords:
            wrong.append(f"{name} with allow_pickle")
    return [f"{source.name}: {one}" for one in wrong]


def global_switches(source: Module) -> list[str]:
    """Calls that print, seed or change a global setting, outside a block that restores it."""
    blocks = (node for node in ast.walk(source.tree) if isinstance(node, ast.With))
    restored = {
        inner
        for block in blocks
        for item in block.items
        if isinstance(item.context_expr, ast.Call) and dotted(item.context_expr.func).split(".")[-1] in RESTORING
        for inner in ast.walk(block)
    }
    named = {node: dotted(node.func) for node in ast.walk(source.tree) if isinstance(node, ast.Call)}
    return [
        f"{source.name} calls {name}"
        for node, name in named.items()
        if name == "print" or (name in GLOBAL_SWITCHES and node not in restored)
    ]


def surface_faults(package: ModuleType) -> list[str]:
    """What is wrong with ``__all__``: missing, unsorted, double, or a name that is absent or undocumented."""
    names: list[str] | None = getattr(package, "__all__", None)
    if names is None:
        return [f"{package.__name__} has no __all__"]
    faults = [f"{name} twice" for name, count in Counter(names).items() if count > 1]
    if names != sorted(names, key=lambda name: (not name.isupper(), not name[0].isupper(), name)):
        faults.append("not sorted: constants, classes, functions, each by name")
    for name in names:
        value = getattr(package, name, None)
        documented = not (inspect.isclass(value) or inspect.isroutine(value)) or has_own_words(value)
        faults += [f"{name} is not there"] if value is None else [] if documented else [f"{name} has no docstring"]
    return [f"{package.__name__}.__all__: {fault}" for fault in faults]


def has_own_words(value: object) -> bool:
    """Whether somebody wrote the docstring; dataclasses and named tuples make one of their fields."""
    words = value.__doc__ or ""
    return bool(words.strip()) and not words.startswith(f"{getattr(value, '__name__', '')}(")


def test_imports_follow_the_arrows() -> None:
    assert [fault for source in modules() for fault in wrong_arrows(source)] == []


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("pyrometer.models.pair", "from ..guides.pair import Pair"),
        ("pyrometer.guides.pair", "from .. import models"),
        ("pyrometer.models.pair", "from ..inference.energy import EnergyView"),
        ("pyrometer.models.pair", "import pyrometer.guides"),
        ("pyrometer.networks.mlp", "def build():\n    from ..data import digits"),
        ("pyrometer.data.digits", "from .. import EnergyView"),
        ("pyrometer.inference.energy.view", "from ..svi import fit"),
        ("pyrometer.inference.energy.view", "from .. import diagnostics"),
        ("pyrometer.inference.svi.fit", "from ..diagnostics.pareto import k"),
        ("pyrometer.inference.svi.fit", "from ...models import FactorAnalysis"),
        ("pyrometer.inference.svi.fit", "from ...recipes.recipe import Recipe"),
        ("pyrometer.recipes.ssvae", "from .. import cli"),
        ("pyrometer.recipes.ssvae", "from ..cli import app"),
        ("pyrometer.attic.old", "import math"),
    ],
)
def test_an_import_against_the_arrows_is_caught(name: str, source: str) -> None:
    assert len(wrong_arrows(module(name, source))) == 1


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("pyrometer.guides.pair", "from ..networks.mlp import mlp\nfrom . import other\nimport torch"),
        ("pyrometer.inference.diagnostics.pareto", "from ..energy.view import EnergyView\nfrom ..svi import fit"),
        ("pyrometer.recipes.ssvae", "from ..models import M\nfrom ..guides import G\nfrom .. import data, inference"),
        ("pyrometer.__main__", "from .cli import main"),
        ("pyrometer.cli", "from .recipes import recipe\nfrom . import __version__\nfrom .inference.svi import fit"),
    ],
)
def test_an_import_along_the_arrows_passes(name: str, source: str) -> None:
    assert wrong_arrows(module(name, source)) == []


def test_the_package_imports_itself_relatively() -> None:
    assert [fault for source in modules() for fault in absolute_imports(source)] == []
    assert absolute_imports(module("pyrometer.data.x", "from ..models import pyrometer\nimport torch.nn")) == []
    for source in ("import pyrometer", "from pyrometer.data import digits", "import pyrometer.data as d"):
        assert len(absolute_imports(module("pyrometer.recipes.x", source))) == 1


def test_every_third_party_import_is_a_declared_dependency() -> None:
    declared = {normal(one) for one in PROJECT["project"]["dependencies"]}
    assert [fault for source in modules() for fault in undeclared(source, declared)] == []
    assert undeclared(module("pyrometer.x", "import pytest, torch, math"), declared) == ["pyrometer.x imports pytest"]
    assert undeclared(module("pyrometer.x", "import sklearn.svm"), {"torch"}) == ["pyrometer.x imports sklearn"]


def test_no_file_is_read_in_a_way_that_can_run_code() -> None:
    assert [fault for source in modules() for fault in unsafe_loading(source)] == []
    for source in (
        "import pickle",
        "from joblib import load",
        "torch.load(path)",
        "fabric.load(path, weights_only=False)",
        "torch.load(path, weights_only=trusted)",
        "np.load(path, allow_pickle=True)",
    ):
        assert len(unsafe_loading(module("pyrometer.x", source))) == 1, source
    assert unsafe_loading(module("pyrometer.x", "torch.load(path, weights_only=True)")) == []


def test_the_library_prints_seeds_and_switches_nothing() -> None:
    library = [source for source in modules() if source.name.rpartition(".")[2] not in MAY_PRINT_AND_SEED]
    assert [fault for source in library for fault in global_switches(source)] == []
    assert len(global_switches(module("pyrometer.x", "def f():\n    print(1)\n    torch.manual_seed(3)"))) == 2
    assert global_switches(module("pyrometer.x", "with torch.random.fork_rng():\n    torch.manual_seed(3)")) == []
    assert len(global_switches(module("pyrometer.x", "with torch.no_grad():\n    torch.manual_seed(3)"))) == 1


def test_no_file_is_longer_than_one_idea() -> None:
    lengths = {str(path): len((ROOT / path).read_text().splitlines()) for path in python_files()}
    assert len(lengths) > 10  # the walk finds the tree
    assert {name: lines for name, lines in lengths.items() if lines > MOST_LINES} == {}


def test_every_file_is_named_after_what_it_holds() -> None:
    assert [str(path) for path in python_files() if NAMELESS & {*path.parts[:-1], path.stem.lstrip("_")}] == []


def test_pyproject_lists_every_package() -> None:
    """A folder that is not listed works from a checkout and is missing from the wheel."""
    inits = [path.parent for path in python_files() if path.name == "__init__.py" and path.parts[0] != "tests"]
    assert sorted(".".join(("pyrometer", *folder.parts)) for folder in inits) == sorted(PACKAGES)


@pytest.mark.parametrize("name", PACKAGES)
def test_a_package_offers_sorted_documented_names(name: str) -> None:
    assert surface_faults(importlib.import_module(name)) == []


def test_a_faulty_surface_is_caught() -> None:
    package = ModuleType("made_up")
    assert surface_faults(package) == ["made_up has no __all__"]
    package.__dict__.update(LIMIT=3, Pair=NamedTuple("Pair", [("a", int)]), silent=lambda: None, fit=room)
    package.__dict__["__all__"] = ["fit", "LIMIT", "Pair", "absent", "fit", "silent"]
    assert [fault.partition(": ")[2] for fault in surface_faults(package)] == [
        "fit twice",
        "not sorted: constants, classes, functions, each by name",
        "Pair has no docstring",
        "absent is not there",
        "silent has no docstring",
    ]
    package.__dict__["__all__"] = ["LIMIT", "Module", "fit"]
    package.__dict__["Module"] = Module
    assert surface_faults(package) == []
