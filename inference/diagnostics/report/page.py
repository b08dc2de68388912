"""One HTML file that needs no other: verdicts first, then sections of text, tables and figures.

Whoever writes a report says what is in it; this file and ``template.html`` say how it looks. All text is plain: it is
escaped, and what stands between two backquotes is set as code.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Real
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from matplotlib.figure import Figure

from ...svi.checkpoint import write_atomically
from ..findings import Finding, Level
from .columns import lay_out
from .figures import inline_svg

__all__ = ["Picture", "Section", "Table", "Verdict", "render", "write_page"]

LEVELS = {"good": ("✓", "Good"), "care": ("!", "Take care"), "bad": ("✕", "Bad")}
"""The symbol and the word of a level."""


@dataclass(frozen=True)
class Verdict:
    """The judgement of one run.

    Attributes:
        name: the run.
        level: ``"good"``, ``"care"`` or ``"bad"``.
        said: the judgement in a sentence or two.
        findings: what it rests on.
    """

    name: str
    level: Level
    said: str
    findings: Sequence[Finding] = ()

    def __post_init__(self) -> None:
        for level in (self.level, *(finding.level for finding in self.findings)):
            if level not in LEVELS:
                raise ValueError(
                    f"A level in the verdict {self.name!r} must be one of {', '.join(LEVELS)}, got {level!r}."
                )


@dataclass(frozen=True)
class Table:
    """A table that its reader can sort by any column.

    None, nan and empty text are shown as a dash, and sorted last in both directions. The numbers of a column all have
    as many decimals as show ``digits`` digits of the one in the middle.

    Attributes:
        caption: what the table shows.
        header: a name for each column; the first column names the rows.
        rows: the cells, as many in each row as the header has.
        note: what stands below, or nothing.
        digits: about how many digits of a number count.
    """

    caption: str
    header: Sequence[str]
    rows: Sequence[Sequence[str | float | int | None]]
    note: str = ""
    digits: int = 4

    def __post_init__(self) -> None:
        name, width = f"table {self.caption!r}", len(self.header)
        if not self.header or not all(name.strip() for name in self.header):
            raise ValueError(f"The header of {name} must name every column, got {list(self.header)}.")
        for index, row in enumerate(self.rows):
            if len(row) != width:
                raise ValueError(
                    f"Row {index} of {name} must have {width} cells, as its header has, got {len(row)}; "
                    f"an empty cell is None."
                )
            for cell in row:
                if not (cell is None or isinstance(cell, str | Real)):
                    raise TypeError(
                        f"A cell of {name} must be text, a number or None, got {type(cell).__name__} in row {index}; "
                        f"pass .item() of a tensor."
                    )


@dataclass(frozen=True)
class Picture:
    """A figure, what it says to those who do not see it, and its caption.

    Attributes:
        figure: a figure of matplotlib; one of up to 7 inches in width can still be read in a narrow window.
        alt: what can be seen in it, in a sentence or two.
        caption: what it shows and how to read it.
    """

    figure: Figure
    alt: str
    caption: str

    def __post_init__(self) -> None:
        if not self.alt.strip():
            raise ValueError(f"alt of the picture {self.caption!r} must say what is seen in it, got {self.alt!r}.")


@dataclass(frozen=True)
class Section:
    """Paragraphs, then tables, then pictures, under one title.

    Attributes:
        title: what it is about.
        text: paragraphs of plain text.
        tables: they are numbered through the page.
        pictures: likewise.
    """

    title: str
    text: Sequence[str] = ()
    tables: Sequence[Table] = ()
    pictures: Sequence[Picture] = ()

    def __post_init__(self) -> None:
        if isinstance(self.text, str):
            raise TypeError(
                f"text of section {self.title!r} must be a list of paragraphs, got one string: pass [text]."
            )


def render(title: str, verdicts: Sequence[Verdict], sections: Sequence[Section], made: str = "") -> str:
    """The page as HTML, the same for the same content.

    Args:
        title: what the page is called.
        verdicts: one for each run, shown before all else.
        sections: what follows, with a table of contents.
        made: when, from what and by which version the page was made.

    Example:
        >>> table = Table("Sites", ["site", "mean"], [["mu", 4.41], ["tau", -0.1234], ["theta", None]])
        >>> page = render("Eight schools", [Verdict("mean field", "good", "All well.")], [Section("Fit", (), [table])])
        >>> page.index("All well.") < page.index("Table 1"), "://" in page
        (True, False)
    """
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals |= {"inline_svg": inline_svg, "lay_out": lay_out, "levels": LEVELS}
    template = environment.get_template("template.html")
    return template.render(title=title, verdicts=verdicts, sections=sections, made=made)


def write_page(
    path: str | Path, title: str, verdicts: Sequence[Verdict], sections: Sequence[Section], made: str = ""
) -> None:
    """Render a page into a file, which a reader finds as it was or whole.

    Args:
        path: the file, in a folder that exists.
        title, verdicts, sections, made: as of ``render``.

    Raises:
        FileNotFoundError: there is no such folder.
    """
    path = Path(path)
    if not path.parent.is_dir():
        raise FileNotFoundError(
            f"path must name a file in a folder that exists, got {str(path)!r}: make the folder "
            f"{str(path.parent)!r} first, or pass another path."
        )
    page = render(title, verdicts, sections, made).encode()
    write_atomically(path, lambda file: file.write(page))
