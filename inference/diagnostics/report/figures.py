"""A matplotlib figure as SVG that can stand in a page of HTML beside others: no name of one is a name of another."""

from io import BytesIO
from xml.etree import ElementTree

import matplotlib as mpl
from matplotlib.figure import Figure

__all__ = ["inline_svg"]

PIXELS_PER_INCH = 192  # of images in the figure: two for each pixel of CSS, for fine screens
LEFT_OUT = {"metadata", "style"}  # the date, and a rule that would hold for the whole page, whose own style has it


def inline_svg(figure: Figure, alt: str, key: str) -> str:
    """The figure as an ``<svg>`` element without namespaces, the same bytes for the same figure.

    What it refers to lies in itself: clip paths, markers and hatches by ids, images as embedded PNG. A link to
    anything else is dropped.

    Args:
        figure: what to draw; its layout is settled by that, and drawn again it is the same.
        alt: what a reader who does not see the figure is told.
        key: what every id starts with, another one for each figure of a page.

    Example:
        >>> figure = Figure(figsize=(3, 2))
        >>> line = figure.subplots().plot([1, 2], [4, 3])
        >>> svg = inline_svg(figure, "A line that falls.", "figure-1")
        >>> 'role="img" aria-label="A line that falls."' in svg, 'id="figure-1-axes_1"' in svg
        (True, True)
    """
    file = BytesIO()
    # Text stays text, to be found and selected; the salt only has to be the same every time, as ids get a key below.
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "pyrometer"}):
        figure.savefig(file, format="svg", dpi=PIXELS_PER_INCH)
    figure.set_layout_engine("none")  # each drawing would move the axes a little further
    root = ElementTree.fromstring(file.getvalue())
    for element in root.iter():
        element.tag = _local(element.tag)
        element.attrib = _attributes(element, key)
        for child in [child for child in element if _local(child.tag) in LEFT_OUT]:
            element.remove(child)
    root.attrib |= {"role": "img", "aria-label": alt}
    return ElementTree.tostring(root, encoding="unicode")


def _local(name: str) -> str:
    """The name without its namespace, which a parser of HTML knows by itself."""
    return name.rpartition("}")[2]


def _attributes(element: ElementTree.Element, key: str) -> dict[str, str]:
    """The attributes with the key in ids and in references to them, without references to other files."""
    attributes = {_local(name): value.replace("url(#", f"url(#{key}-") for name, value in element.attrib.items()}
    if "id" in attributes:
        attributes["id"] = f"{key}-{attributes['id']}"
    href = attributes.pop("href", "")
    if href.startswith("#"):
        attributes["href"] = f"#{key}-{href[1:]}"
    elif href.startswith("data:"):
        attributes["href"] = href
    return attributes
