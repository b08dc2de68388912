"""The page of ``pyrometer report``: verdicts, text, tables and figures as one HTML file."""

from .page import Picture, Section, Table, Verdict, render, write_page

__all__ = ["Picture", "Section", "Table", "Verdict", "render", "write_page"]
