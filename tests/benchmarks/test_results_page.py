"""A benchmark writes its own block of the page and nothing else."""

import pytest

from pyrometer.benchmarks.results_page import provenance, table, write_block

OTHERS = "# Results\n\nWords.\n\n<!-- a -->\n\nold\n\n<!-- /a -->\n\nMore words.\n\n<!-- b -->\nkept\n<!-- /b -->\n"


def test_a_block_is_replaced_and_the_rest_left_alone(tmp_path):
    page = tmp_path / "results.md"
    page.write_text(OTHERS)
    write_block(page, "a", "new\nlines\n")
    assert page.read_text() == OTHERS.replace("old", "new\nlines")
    write_block(page, "a", "old")
    assert page.read_text() == OTHERS


def test_a_page_without_the_block_or_none_at_all_gets_it_at_the_end(tmp_path):
    page = tmp_path / "new" / "results.md"
    write_block(page, "c", "first")
    assert page.read_text() == "<!-- c -->\n\nfirst\n\n<!-- /c -->\n"
    page.write_text(OTHERS)
    write_block(page, "c", "third")
    assert page.read_text() == OTHERS + "\n<!-- c -->\n\nthird\n\n<!-- /c -->\n"


def test_a_block_that_never_ends_is_refused_and_nothing_written(tmp_path):
    page = tmp_path / "results.md"
    page.write_text("<!-- a -->\nold\n")
    with pytest.raises(ValueError, match="<!-- a --> without <!-- /a -->"):
        write_block(page, "a", "new")
    assert page.read_text() == "<!-- a -->\nold\n"


def test_a_table_has_its_header_a_rule_and_its_rows():
    assert table(["a", "b"], [["1", "2"], ["3", "4"]]) == "| a | b |\n|---|---|\n| 1 | 2 |\n| 3 | 4 |"


def test_the_provenance_has_the_command_as_it_was_called(monkeypatch):
    monkeypatch.setattr("sys.argv", ["/somewhere/digits.py", "--seeds", "3"])
    made = provenance("benchmarks.digits")
    assert made.startswith("`python -m benchmarks.digits --seeds 3`, 20")
    assert "/somewhere" not in made
    assert "torch " in made
