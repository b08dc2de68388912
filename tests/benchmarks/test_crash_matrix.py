"""Compiled steps in processes of their own, with two threads: they are those of plain ones, and a crash is named."""

import json
import shutil
import signal
from contextlib import nullcontext

import pytest

from pyrometer.benchmarks import crash_matrix
from pyrometer.benchmarks.case_processes import Cell, Found, Setting, environment, found_apart, in_parallel, widths_here
from pyrometer.benchmarks.crash_matrix import report
from pyrometer.benchmarks.exactness_recipes import RECIPES
from pyrometer.benchmarks.sanitised import told
from pyrometer.recipes.recipe import names

can_compile = pytest.mark.skipif(shutil.which("g++") is None, reason="torch cannot compile without g++")

PRODUCT, LOOP, INDEX = "recipe factor_analysis", "functions with pyro.param", "enumeration in the model"
STEPS = 3
OK = Found("a", "256", 1, STEPS, "compiled")


@can_compile
@pytest.mark.parametrize(("width", "cases"), [("256", [PRODUCT, LOOP, INDEX]), ("own", [PRODUCT])])
def test_compiled_steps_in_two_threads_are_those_of_plain_ones(width, cases):
    """A product of matrices, whose code has threads, a loop, and an index; in one process for each width."""
    if width == "256" and "256" not in widths_here():
        pytest.skip("the processor has no vectors of 256 bits")
    with environment(["-O0"]) as variables:
        cells = [Cell(case, 2) for case in cases]
        found = list(found_apart(cells, Setting(width, STEPS, variables)))
    assert [one.verdict for one in found] == ["ok"] * len(cases), found
    assert [one.case for one in found] == cases


@can_compile
def test_a_case_that_ends_its_process_is_named_and_the_others_go_on():
    with environment(["-O0"]) as variables:
        cells = [Cell("ends its process", 2), Cell("depends on threads", 2)]
        crash, other = found_apart(cells, Setting("none", STEPS, variables))
    assert crash.verdict == f"crash {signal.SIGSEGV.name}"
    assert (other.case, other.failure) == ("depends on threads", "")
    assert other.verdict.startswith("off ")  # its prior is another with two threads than with one


def test_the_table_has_only_cases_that_are_not_all_right():
    crash = OK._replace(case="b", threads=2, failure="crash SIGSEGV")
    plain = OK._replace(case="b", engine="plain steps: it counts")
    text = report([OK, OK._replace(threads=2), plain, crash])
    assert text.startswith("1 of 2 cases")
    assert "1 of 4 cells ended their process" in text
    assert text.splitlines()[-1] == "| b | plain: plain steps: it counts | crash SIGSEGV |"
    assert "|" not in report([OK])


def test_a_number_that_is_none_is_another_number():
    assert OK.verdict == "ok"
    assert OK._replace(losses=float("nan")).verdict == "off nan"
    assert OK._replace(parameters=1e-3).verdict == "off 1e-03"


def test_parts_are_worked_through_by_several_at_a_time_and_an_error_is_raised():
    parts = [lambda case=case: iter([OK._replace(case=case)]) for case in "abcde"]
    assert sorted(found.case for found in in_parallel(parts, 2)) == list("abcde")

    def failing():
        raise RuntimeError("no process")

    with pytest.raises(RuntimeError, match="no process"):
        list(in_parallel([failing], 2))


def test_every_recipe_is_a_case():
    assert {name.split(",")[0].removeprefix("recipe ") for name in RECIPES} == set(names())


def test_what_the_sanitizer_tells_is_the_kind_of_fault_and_its_place():
    err = "==1==ERROR: AddressSanitizer: heap-buffer-overflow on 0x1\n    #0 0x1 in memcpy asan_interceptors.cpp:3\n"
    err += "    #1 0x2 in kernel(float*) /a/b c/d.cpp:12\n"
    assert told(86, err) == "heap-buffer-overflow in kernel(float*) d.cpp:12"
    assert told(-11, "oh\nno\n") == "ended with -11, and nothing was told: no"


@pytest.mark.parametrize("rest", ["", '{"case": "a", "wid'])
def test_a_resumed_run_takes_what_is_known_and_no_half_line(tmp_path, monkeypatch, rest):
    case, path = LOOP, tmp_path / "found.jsonl"
    known, other = OK._replace(case=case, losses=1e-6), OK._replace(case=case, threads=2, losses=2e-6)
    path.write_text(json.dumps(known._asdict()) + "\n" + rest)
    asked = []
    monkeypatch.setattr(crash_matrix, "found_apart", lambda cells, _: asked.extend(cells) or iter([other]))
    arguments = ["--cases", case, "--widths", "256", "--threads", "1", "2", "--steps", str(STEPS), "--resume"]
    monkeypatch.setattr("sys.argv", ["", *arguments, "--found", str(path), "--results", str(tmp_path / "page.md")])
    monkeypatch.setattr(crash_matrix, "environment", lambda _: nullcontext({}))
    assert crash_matrix.main() == 0
    assert asked == [Cell(case, 2)]
    assert [json.loads(line)["losses"] for line in path.read_text().splitlines()] == [1e-6, 2e-6]
