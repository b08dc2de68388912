"""The page of a report as text: what it must hold, and what it must not."""

import os
import re
from collections import Counter
from html.parser import HTMLParser
from itertools import pairwise

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.figure import Figure

from pyrometer.inference.diagnostics import Finding
from pyrometer.inference.diagnostics.report import Picture, Section, Table, Verdict, render, write_page
from pyrometer.inference.diagnostics.report.columns import lay_out

RUDE = """<script>alert("1")</script><img src='https://example.org/x.png'> & `<b>_.` """
GOOD = Verdict("mean field", "good", "The draws can stand for the posterior.")


def drawn(title="a curve"):
    """A figure with what has ids and references: clip paths, markers, a hatch and an image."""
    figure = Figure(figsize=(4, 3), layout="constrained")
    ax = figure.subplots()
    ax.plot([1, 2, 3], [3, -1, 2], "o-")
    ax.fill_between([1, 2, 3], [0, 2, 1], hatch="//")
    ax.imshow(np.arange(12.0).reshape(3, 4))
    ax.set_title(title)
    return figure


def picture(title="a curve"):
    return Picture(drawn(title), f"What is seen of {title}.", f"What is said of {title}.")


def elements(page):
    """Every element of a page with its attributes."""
    found = []
    parser = HTMLParser()
    parser.handle_starttag = lambda tag, attributes: found.append((tag, dict(attributes)))
    parser.feed(page)
    return found


def texts(rows, digits=4):
    """What is shown of the only column of a table, its signs as a keyboard has them."""
    cells = lay_out(["x"], [[row] for row in rows], digits)[0].cells
    return [cell.text.replace("\N{MINUS SIGN}", "-").replace("\N{EN DASH}", "") for cell in cells]


def test_what_others_wrote_is_text_and_never_markup():
    verdict = Verdict(RUDE, "care", RUDE, [Finding("bad", RUDE, remedy=RUDE)])
    table = Table(RUDE, [RUDE, "b"], [[RUDE, RUDE], ["x", 1]], note=RUDE)
    section = Section(RUDE, [RUDE], [table], [Picture(drawn(RUDE), RUDE, RUDE)])
    page = render(RUDE, [verdict], [section], made=RUDE)
    tags = Counter(tag for tag, _ in elements(page))
    assert (tags["script"], tags["img"], tags["b"]) == (1, 0, 2)  # ours alone: b are the numbers in the captions
    assert page.count("&lt;script&gt;alert") == 18  # titles of page and section twice, all else once


def test_words_between_backquotes_are_code():
    page = render("t", [Verdict("n", "good", "Run `pyrometer fit x`, then `a_b`.")], [])
    assert "Run <code>pyrometer fit x</code>, then <code>a_<wbr>b</code>." in page
    assert "one ` alone" in render("t", [Verdict("n", "good", "one ` alone")], [])


def test_verdicts_stand_before_all_else_and_say_their_level_by_word_and_symbol():
    bad = Verdict("flow", "bad", "Do not take it.", [Finding("care", "Few draws.", "Draw more.")])
    page = render("Two runs", [GOOD, bad], [Section("Gaps", ["So it is."])])
    assert page.index("Do not take it.") < page.index("<nav") < page.index("So it is.")
    levels = re.findall(r'class="level (\w+)"><span aria-hidden="true">(.)</span> ([\w ]+)<', page)
    assert levels == [("good", "✓", "Good"), ("bad", "✕", "Bad"), ("care", "!", "Take care")]
    assert "Remedy: Draw more." in page


def test_contents_lead_to_every_section():
    page = render("t", [GOOD], [Section("First", ["a"]), Section("Second", ["b"])])
    links = [attributes["href"] for tag, attributes in elements(page) if tag == "a"]
    assert links == ["#section-1", "#section-2"]
    assert '<h2 id="section-2">Second</h2>' in page


def test_headings_go_down_one_level_at_a_time():
    page = render("t", [GOOD], [Section("First", ["a"])])
    levels = [int(tag[1]) for tag, _ in elements(page) if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))


def test_cells_carry_what_they_are_sorted_by():
    rows = [["b", -1.25], ["a", float("nan")], ["c", None], [" ", -np.inf], ["d", np.float32(0.5)], ["e", 10_000_000]]
    page = render("t", [], [Section("s", tables=[Table("c", ["name", "value"], rows)])])
    keys = [attributes.get("data-sort") for tag, attributes in elements(page) if tag == "td"]
    assert keys == ["-1.25", "", "", "-Infinity", "0.5", "10000000.0"]
    names = [attributes.get("data-sort") for tag, attributes in elements(page) if attributes.get("scope") == "row"]
    assert names == [None, None, None, "", None, None]


def test_only_columns_of_numbers_stand_right():
    rows = [["a", -1.5, 3.5, None], ["b", None, "many", None]]
    columns = lay_out(["text", "numbers", "both", "empty"], rows, 4)
    assert [column.numeric for column in columns] == [False, True, False, False]


@pytest.mark.parametrize(
    ("values", "shown"),
    [
        ([1234.5678, 0.123456, -7.5], ["1,234.568", "0.123", "-7.500"]),  # four digits of the middle one, 7.5
        ([0.5, 1.0, 2.0], ["0.5", "1.0", "2.0"]),  # no zeros that all end with
        ([1000.0, float("nan"), 950.0], ["1,000", "", "950"]),
        ([10**17, 3], ["100,000,000,000,000,000", "3"]),  # integers are exact
        ([3e17, -2e16], ["3.0e17", "-2.0e16"]),
        ([12.25, 1e-9, 0.0, -0.0], ["12.25", "1.0e-9", "0.00", "0.00"]),
        ([np.inf, -np.inf, 0.25], ["∞", "-∞", "0.25"]),
        ([40, 0.001, "adam", True, None, " "], ["40", "0.001", "adam", "True", "", ""]),
        ([0.30000000000000004, 0.1], ["0.3", "0.1"]),
        ([], []),
    ],
)
def test_numbers_are_shown_with_sensible_digits(values, shown):
    assert texts(values) == shown


def test_a_minus_is_a_minus_and_a_missing_number_a_dash():
    assert [cell.text for cell in lay_out(["x"], [[-2], [None]], 4)[0].cells] == ["\N{MINUS SIGN}2", "\N{EN DASH}"]


def test_digits_are_those_of_the_number_in_the_middle():
    assert texts([1.23456, 123.456, 12.3456], digits=3) == ["1.2", "123.5", "12.3"]


def test_a_table_of_one_row_cannot_be_sorted():
    one, two = (Section("s", tables=[Table("c", ["name"], [["x"]] * count)]) for count in (1, 2))
    assert "<button" not in render("t", [], [one])
    assert "<button" in render("t", [], [two])


def test_a_table_without_rows_shows_its_header():
    assert "waiting" in render("t", [], [Section("s", tables=[Table("c", ["waiting"], [])])])


def test_two_figures_share_no_id_and_refer_to_their_own():
    page = render("t", [GOOD], [Section("s", pictures=[picture(), picture()])])
    found = [(tag, value) for tag, attributes in elements(page) for value in [attributes.get("id")] if value]
    ids = [name for _, name in found]
    assert sum(tag == "clippath" for tag, _ in found) >= 2
    assert len(ids) == len(set(ids)) > 40
    figures = page[page.index("<figure") :]
    referred = re.findall(r'(?:url\(|href=")#([\w-]+)', figures)
    assert {name[:9] for name in referred} == {"figure-1-", "figure-2-"}
    assert set(referred) <= set(ids)


def test_a_figure_keeps_its_text_and_says_what_is_seen():
    page = render("t", [GOOD], [Section("s", pictures=[picture("energies & gaps")])])
    (svg,) = [attributes for tag, attributes in elements(page) if tag == "svg"]
    assert (svg["role"], svg["aria-label"]) == ("img", "What is seen of energies & gaps.")
    assert re.search(r"<text [^>]*>energies &amp; gaps</text>", page)


def test_a_figure_brings_no_rule_for_the_rest_of_the_page():
    assert render("t", [GOOD], [Section("s", pictures=[picture()])]).count("<style") == 1


def test_nothing_lies_outside_the_page():
    figure = drawn()
    figure.axes[0].title.set_url("https://example.org")
    page = render("t", [GOOD], [Section("s", ["x"], pictures=[Picture(figure, "a", "c"), picture()])])
    names = ("src", "srcset", "href", "xlink:href", "data", "action", "poster")
    reached = [attributes[name] for _, attributes in elements(page) for name in names if name in attributes]
    assert {link.partition(":")[0] if "data:" in link else link[0] for link in reached} == {"data", "#"}
    assert set(re.findall(r"url\((.)", page)) == {"#"}
    assert not re.search(r"@import|https?:|//\w+\.\w", page)
    assert "default-src 'none'" in page  # and the browser holds it to that


def test_the_same_content_gives_the_same_bytes_at_any_time(monkeypatch):
    def page():
        return render("t", [GOOD], [Section("s", ["x"], pictures=[picture(), picture("another")])], "made by us")

    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1000000000")  # what matplotlib takes for now
    before = page()
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    assert page() == before


def test_a_figure_can_be_shown_twice():
    shown = picture()
    pages = [render("t", [GOOD], [Section("s", pictures=[shown])]) for _ in range(2)]
    assert pages[0] == pages[1]


def test_settings_of_matplotlib_stay():
    ours = {"svg.hashsalt": "a user's", "svg.fonttype": "path"}
    with mpl.rc_context(ours):
        assert "<text" in render("t", [GOOD], [Section("s", pictures=[picture()])])
        assert {name: mpl.rcParams[name] for name in ours} == ours


def test_a_page_is_small():
    assert len(render("t", [GOOD], [])) < 15_000
    table = Table("c", [f"column {i}" for i in range(9)], np.random.default_rng(3).normal(size=(100, 9)).tolist())
    assert len(render("t", [GOOD], [Section("s", tables=[table])])) < 90_000
    assert len(render("t", [GOOD], [Section("s", pictures=[picture()])])) < 40_000


def test_a_page_is_written_whole(tmp_path):
    path = tmp_path / "report.html"
    write_page(path, "Énergie", [GOOD], [])
    assert path.read_text(encoding="utf-8") == render("Énergie", [GOOD], [])
    assert [entry.name for entry in tmp_path.iterdir()] == ["report.html"]


def test_a_page_that_cannot_be_written_leaves_the_old_one(tmp_path, monkeypatch):
    def full(_):
        raise OSError("no space left")

    path = tmp_path / "report.html"
    path.write_text("the old page")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="no space left"):
        write_page(path, "t", [GOOD], [])
    assert path.read_text() == "the old page"
    assert [entry.name for entry in tmp_path.iterdir()] == ["report.html"]


def test_a_folder_that_does_not_exist_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"path must name a file in a folder that exists, got .*absent.*make"):
        write_page(str(tmp_path / "absent" / "report.html"), "t", [GOOD], [])


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: Verdict("flow", "fine", "x"), ValueError, "the verdict 'flow' must be one of good, .*got 'fine'"),
        (
            lambda: Verdict("flow", "good", "x", [Finding("", "y")]),
            ValueError,
            "must be one of good, care, bad, got ''",
        ),
        (lambda: Table("gaps", ["a", "b"], [[1, 2], [3]]), ValueError, "Row 1 of table 'gaps' must have 2.*got 1; "),
        (lambda: Table("gaps", ["a", ""], []), ValueError, r"table 'gaps' must name every column, got \['a', ''\]"),
        (lambda: Table("gaps", [], []), ValueError, r"must name every column, got \[\]"),
        (lambda: Table("gaps", ["a"], [["x"], [[2]]]), TypeError, "'gaps' must be text, a number or None, got list in"),
        (lambda: Picture(drawn(), " ", "Energy"), ValueError, "alt of the picture 'Energy' must say.*got ' '"),
        (lambda: Section("Gaps", "one"), TypeError, r"text of section 'Gaps' must be .*got one string: .*\[text\]"),
    ],
)
def test_content_that_cannot_be_shown_is_refused(make, error, message):
    with pytest.raises(error, match=message):
        make()
