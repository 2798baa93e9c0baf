"""One self-contained HTML file: text, tables and pictures, no network, no scripts.

All text is escaped: names come from manifests, stores and checkpoints of strangers.
"""

from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np


@dataclass(frozen=True)
class Table:
    """A table of text.

    Parameters
    ----------
    title, note
        Heading above the table, and a sentence below it.
    header
        Column names.
    rows
        Cells, one sequence a row.
    emphasised
        Rows set in bold, by position.
    is_text
        Whether cells are words, set from the left and broken where they are long; else numbers.
    """

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""
    emphasised: Sequence[int] = ()
    is_text: bool = False


@dataclass(frozen=True)
class Picture:
    """A PNG with its caption."""

    png: bytes
    caption: str


@dataclass(frozen=True)
class Section:
    """A part of the page: a heading, paragraphs, then tables, then pictures, then a line that may be copied (a command)."""

    title: str
    paragraphs: Sequence[str] = ()
    tables: Sequence[Table] = ()
    pictures: Sequence[Picture] = ()
    note: str = ""


@dataclass(frozen=True)
class Page:
    """The whole report.

    Parameters
    ----------
    title, subtitle
        Headings.
    banners
        What a reader must know before reading on, such as that all data are simulated.
    sections
        Parts, top to bottom.
    lead
        What it comes to, in a few sentences: the first thing that is read.
    lead_picture
        Figure below them.
    """

    title: str
    subtitle: str
    banners: Sequence[str]
    sections: Sequence[Section]
    lead: Sequence[str] = ()
    lead_picture: Picture | None = None


_STYLE = """
:root { color-scheme: light; }
body { font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; color: #1c2127; background: #fff;
       max-width: 1080px; margin: 2rem auto 4rem; padding: 0 1.2rem; }
h1 { font-size: 1.7rem; margin: 0; } h2 { font-size: 1.25rem; margin: 2.2rem 0 .6rem; }
h3 { font-size: 1rem; margin: 1.2rem 0 .4rem; } p { margin: .5rem 0; max-width: 75ch; }
.subtitle { color: #56606b; margin: .2rem 0 1rem; }
.banner { background: #fff3cd; border-left: 5px solid #d39e00; padding: .6rem .9rem; margin: .6rem 0; font-weight: 600; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .93rem; }
th, td { padding: .32rem .8rem; text-align: right; border-bottom: 1px solid #e3e6ea; vertical-align: top; }
th { border-bottom: 2px solid #9aa3ad; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; }
table.plain th, table.plain td { text-align: left; } table.plain td { overflow-wrap: anywhere; }
table.plain td:first-child { white-space: nowrap; color: #56606b; }
table.plain td { min-width: 5rem; }
tr.emphasised td { font-weight: 700; } .note, figcaption { color: #56606b; font-size: .88rem; max-width: 90ch; }
.lead { font-size: 1.12rem; max-width: 72ch; } code { font-size: .84rem; overflow-wrap: anywhere; }
figure { margin: 1rem 0 1.6rem; } img { max-width: 100%; height: auto; }
"""


def format_score(value: float, digits: int = 3) -> str:
    """Write a score; "n/a" where it is undefined (NaN)."""
    return "n/a" if np.isnan(value) else f"{value:.{digits}f}"


def format_interval(low: float, high: float, digits: int = 3) -> str:
    """Write an interval; empty where there is none (NaN)."""
    return "" if np.isnan(low) or np.isnan(high) else f"{low:.{digits}f} to {high:.{digits}f}"


def render_page(page: Page) -> str:
    """Return the page as the text of one HTML file."""
    parts = [
        "<!DOCTYPE html>",
        '<html lang="en">',
        "<head>",
        '<meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{escape(page.title)}</title>",
        f"<style>{_STYLE}</style>",
        "</head>",
        "<body>",
        f"<h1>{escape(page.title)}</h1>",
        f'<p class="subtitle">{escape(page.subtitle)}</p>',
        *(f'<div class="banner" role="note">{escape(text)}</div>' for text in page.banners),
    ]
    if page.lead:
        parts.append(f'<p class="lead">{escape(" ".join(page.lead))}</p>')
    if page.lead_picture is not None:
        parts.append(_picture(page.lead_picture))
    for section in page.sections:
        parts.append(f"<section>\n<h2>{escape(section.title)}</h2>")
        parts += [f"<p>{escape(text)}</p>" for text in section.paragraphs]
        parts += [_table(table) for table in section.tables]
        parts += [_picture(picture) for picture in section.pictures]
        parts += [f'<p class="note"><code>{escape(section.note)}</code></p>'] if section.note else []
        parts.append("</section>")
    parts += ["</body>", "</html>", ""]
    return "\n".join(parts)


def _table(table: Table) -> str:
    heading = f"<h3>{escape(table.title)}</h3>\n" if table.title else ""
    kind = ' class="plain"' if table.is_text else ""
    header = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in table.header)
    rows = []
    for index, row in enumerate(table.rows):
        emphasis = ' class="emphasised"' if index in table.emphasised else ""
        rows.append(f"<tr{emphasis}>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>")
    note = f'\n<p class="note">{escape(table.note)}</p>' if table.note else ""
    body = "\n".join(rows)
    return (
        f'{heading}<div class="scroll"><table{kind}>\n<thead><tr>{header}</tr></thead>\n<tbody>\n{body}\n</tbody>\n'
        f"</table></div>{note}"
    )


def _picture(picture: Picture) -> str:
    text = escape(picture.caption)
    source = b64encode(picture.png).decode("ascii")
    return f'<figure><img alt="{text}" src="data:image/png;base64,{source}"><figcaption>{text}</figcaption></figure>'
