# SPDX-License-Identifier: Apache-2.0
"""Reports as one HTML file each, with pictures inside, so that they can be sent and kept."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path

from .results import DISCLAIMER

STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; color: #222; max-width: 58rem; margin: 2rem auto;
       padding: 0 1rem }
h1, h2 { line-height: 1.2 }
h2 { margin-top: 2.5rem }
table { border-collapse: collapse; margin: 1rem 0; font-variant-numeric: tabular-nums }
th, td { padding: .3rem .8rem; text-align: right; border-bottom: 1px solid #ddd }
th:first-child, td:first-child { text-align: left }
.marked { color: #a34700 }
.note { border-left: 4px solid #d55e00; background: #fff5ec; padding: .5rem 1rem }
.scroll { overflow-x: auto }
img, svg { max-width: 100%; height: auto }
footer { color: #666; margin-top: 3rem }
"""


def page(title: str, body: Iterable[str]) -> str:
    """A whole page that ends with who decides.

    Args:
        title: plain text.
        body: HTML; empty parts are left out.
    """
    return ('<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8"/>\n'
            '<meta name="viewport" content="width=device-width"/>\n'
            f"<title>{escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n"
            + "\n".join(filter(None, body))
            + f"\n<footer>{escape(DISCLAIMER)}</footer>\n</body>\n</html>\n")


def table(heading: Sequence[str], rows: Iterable[Sequence[str]],
          marked: Sequence[int] = ()) -> str:
    """A table of plain text; columns with a number in ``marked`` get the class ``marked``."""
    marks = ' class="marked"'

    def line(tag: str, cells: Sequence[str]) -> str:
        return "<tr>" + "".join(
            f"<{tag}{marks if number in marked else ''}>{escape(cell)}</{tag}>"
            for number, cell in enumerate(cells)) + "</tr>"

    return "\n".join(['<div class="scroll"><table>', line("th", heading),
                      *(line("td", row) for row in rows), "</table></div>"])


def picture(path: Path, meaning: str) -> str:
    """A PNG inside the page; ``meaning`` for who cannot see it."""
    content = base64.b64encode(path.read_bytes()).decode("ascii")
    return f'<p><img alt="{escape(meaning)}" src="data:image/png;base64,{content}"/></p>'
