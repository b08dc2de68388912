"""Every example in a docstring of the package says what really happens."""

import doctest
import importlib
import tomllib
from pathlib import Path
from types import ModuleType

import pyro
import pyro.distributions as dist
import pytest

ROOT = Path(__file__).parents[1]
SEED = 20260101


def module_names() -> list[str]:
    """The modules of the packages that pyproject.toml lists, and benchmarks with examples; none is imported."""
    packages = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    folders = {package: ROOT.joinpath(*package.split(".")[1:]) for package in packages}
    benchmarks = [path.stem for path in sorted((ROOT / "benchmarks").glob("*.py")) if ">>>" in path.read_text()]
    return [f"pyrometer.benchmarks.{name}" for name in benchmarks] + [
        package if path.stem == "__init__" else f"{package}.{path.stem}"
        for package, folder in folders.items()
        for path in sorted(folder.glob("*.py"))
        if path.stem != "__main__"  # importing it runs the command
    ]


def run_examples(module: ModuleType) -> doctest.TestResults:
    """Runs each docstring's example from the same seed; what fails is printed."""
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    for example in doctest.DocTestFinder().find(module):
        pyro.set_rng_seed(SEED)
        runner.run(example)
    return runner.summarize(verbose=False)


@pytest.mark.parametrize("name", module_names())
def test_the_examples_hold(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # an example may write a run directory
    assert run_examples(importlib.import_module(name)).failed == 0


def test_an_example_that_says_something_false_is_caught(capsys: pytest.CaptureFixture[str]) -> None:
    module = ModuleType("made_up", ">>> 0.1 + 0.2\n0.3...\n>>> 2 * 3\n5\n")
    assert run_examples(module) == doctest.TestResults(failed=1, attempted=2)
    assert "2 * 3" in capsys.readouterr().out


def test_an_example_starts_from_a_fixed_seed() -> None:
    pyro.set_rng_seed(SEED)
    value = dist.Normal(0.0, 2.0).sample().item()
    example = f">>> import pyro.distributions as dist\n>>> dist.Normal(0.0, 2.0).sample().item()\n{value!r}\n"
    assert run_examples(ModuleType("made_up", example)).failed == 0
