"""A report as one HTML file: tables and pictures, nothing to fetch, nothing to run."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from jinja2 import Environment, StrictUndefined

from recsys_vae.files import atomic_file

Cells = Sequence[Sequence[str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Text in rows and columns.

    Attributes:
        title: above it; may be empty.
        heads: of the columns.
        rows: as many cells each.
        note: below it; may be empty.
    """

    title: str = ""
    heads: Sequence[str]
    rows: Cells
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """A PNG file that is there.

    Attributes:
        path: of the file.
        says: what it shows, for those who cannot see it.
    """

    path: Path
    says: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """A part of the report.

    Attributes:
        title: of the part.
        text: a sentence or two; may be empty.
        tables: in order.
        pictures: in order, below the tables.
    """

    title: str
    text: str = ""
    tables: Sequence[Table] = ()
    pictures: Sequence[Picture] = ()


# The policy forbids what a report never needs: even markup that got through could load nothing.
_PAGE: Final = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>{{ title }}</title>
<style>
body { font: 16px/1.5 system-ui, sans-serif; color: #262626; max-width: 70rem; margin: 2rem auto;
 padding: 0 1rem; }
h1 { font-size: 1.7rem; } h2 { font-size: 1.3rem; margin-top: 2.5rem; } h3 { font-size: 1rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: .9rem; font-variant-numeric: tabular-nums; }
th, td { padding: .25rem .8rem .25rem 0; text-align: left; border-bottom: 1px solid #e6e6e6; }
img { max-width: 100%; height: auto; display: block; margin: 1rem 0; }
.note, footer { color: #595959; font-size: .85rem; }
@media print { h2 { break-after: avoid; } img { break-inside: avoid; } }
</style>
</head>
<body>
<h1>{{ title }}</h1>
{% for section in sections %}
<section>
<h2>{{ section.title }}</h2>
{% if section.text %}<p>{{ section.text }}</p>{% endif %}
{% for table in section.tables %}
{% if table.title %}<h3>{{ table.title }}</h3>{% endif %}
<div class="wide"><table>
<thead><tr>{% for head in table.heads %}<th scope="col">{{ head }}</th>{% endfor %}</tr></thead>
<tbody>
{% for row in table.rows %}
<tr>{% for cell in row %}<td>{{ cell }}</td>{% endfor %}</tr>
{% endfor %}
</tbody>
</table></div>
{% if table.note %}<p class="note">{{ table.note }}</p>{% endif %}
{% endfor %}
{% for picture in section.pictures %}
<img alt="{{ picture.says }}" src="data:image/png;base64,{{ inlined(picture.path) }}">
{% endfor %}
</section>
{% endfor %}
<footer><p>{{ footer }}</p></footer>
</body>
</html>
"""


def write_page(title: str, sections: Sequence[Section], footer: str, path: Path) -> None:
    """Write a report; all text in it is escaped, the pictures are within.

    Args:
        title: of the page.
        sections: its parts, in order.
        footer: what it was made from.
        path: the HTML file; it appears only when complete.
    """
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    page = environment.from_string(_PAGE)
    text = page.render(title=title, sections=sections, footer=footer, inlined=_inlined)
    with atomic_file(path) as temporary:
        temporary.write_text(f"{text}\n", "utf-8")


def _inlined(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode("ascii")
