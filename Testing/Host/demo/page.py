# SPDX-License-Identifier: Apache-2.0
"""The page of the demo: what was done to one image and what came out, for a radiologist.

Plain HTML in one file, its style inside, no script and nothing fetched: it opens from a folder,
a stick or an e-mail.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

STYLE = Path(__file__).with_name("page.css")


@dataclass(frozen=True)
class Picture:
    """One picture of the page.

    Attributes
    ----------
    file : str
        Path relative to the page.
    title, caption : str
        What it shows, and what to look at.
    wide : bool
        Takes the whole width of the page.
    light : bool
        A picture of a panel, on a light ground and in its own size.
    scale : sequence of str
        Colours of a map from low to high, as HTML writes them; empty where there is no map.
    """

    file: str
    title: str
    caption: str
    wide: bool = False
    light: bool = False
    scale: Sequence[str] = ()


@dataclass(frozen=True)
class Row:
    """One structure of the table.

    Attributes
    ----------
    name : str
        Name for people.
    group : str
        Heading it stands under.
    color : tuple of int
        Red, green, blue of its segment, each 0 to 255.
    volume_ml : float
        Volume in millilitres; 0 when the structure was not found.
    mean_hu : float or None
        Mean attenuation in Hounsfield units.
    uncertainty : float or None
        Mean uncertainty inside the structure, 0 to 1.
    flag : str
        Why a person should look at it; empty when there is no reason.
    """

    name: str
    group: str
    color: tuple[int, int, int]
    volume_ml: float
    mean_hu: float | None
    uncertainty: float | None
    flag: str = ""


@dataclass(frozen=True)
class Page:
    """Everything the page says; ``render`` puts it into words and markup.

    Attributes
    ----------
    title, summary : str
        Heading and one sentence below it.
    facts : sequence of (str, str)
        Name and value of what was used: image, model, samples, time.
    notes : sequence of str
        Sentences that the reader must know before the pictures.
    flags : sequence of str
        Findings that a person should check.
    pictures : sequence of Picture
    no_pictures : str
        Why some are missing; empty when none is.
    rows : sequence of Row
    model : sequence of str
        Sentences about the model: what it learned from, how good it is, on what.
    files : sequence of (str, str)
        Path relative to the page, and what it holds.
    disclaimer : str
    """

    title: str
    summary: str
    facts: Sequence[tuple[str, str]]
    notes: Sequence[str]
    flags: Sequence[str]
    pictures: Sequence[Picture]
    no_pictures: str
    rows: Sequence[Row]
    model: Sequence[str]
    files: Sequence[tuple[str, str]]
    disclaimer: str

    def render(self) -> str:
        """Return the page as HTML."""
        parts = [
            _notice(self.notes),
            _facts(self.facts),
            _flags(self.flags),
            "<h2>Pictures</h2>",
            _notice([self.no_pictures] if self.no_pictures else []),
            _pictures(self.pictures) if self.pictures else "",
            "<h2>Measurements</h2>",
            _table(self.rows),
            "<h2>The model</h2>",
            *(f"<p>{escape(sentence)}</p>" for sentence in self.model),
            "<h2>Files</h2>",
            _files(self.files),
            f"<footer>{escape(self.disclaimer)}</footer>",
        ]
        style = STYLE.read_text(encoding="utf-8")
        header = (
            f"<h1>{escape(self.title)}</h1><p>{escape(self.summary)}</p>"
            f'<p class="disclaimer">{escape(self.disclaimer)}</p>'
        )
        body = "\n".join(part for part in parts if part)
        return (
            '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
            '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
            f"<title>{escape(self.title)}</title>\n<style>\n{style}</style>\n</head>\n<body>\n"
            f"<header><div>{header}</div></header>\n<main>\n{body}\n</main>\n</body>\n</html>\n"
        )


def _notice(sentences: Iterable[str]) -> str:
    body = "".join(f"<p>{escape(sentence)}</p>" for sentence in sentences)
    return f'<div class="notice">{body}</div>' if body else ""


def _facts(facts: Iterable[tuple[str, str]]) -> str:
    items = "".join(
        f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>" for name, value in facts
    )
    return f'<dl class="facts">{items}</dl>'


def _flags(flags: Sequence[str]) -> str:
    if not flags:
        return ""
    items = "".join(f"<li>{escape(flag)}</li>" for flag in flags)
    return f'<div class="notice flag"><h3>Please check</h3><ul>{items}</ul></div>'


def _pictures(pictures: Iterable[Picture]) -> str:
    figures = []
    for picture in pictures:
        classes = " ".join(
            name for name, on in (("wide", picture.wide), ("light", picture.light)) if on
        )
        file, title = escape(picture.file), escape(picture.title)
        figures.append(
            f'<figure class="{classes}"><a href="{file}"><img src="{file}" alt="{title}"></a>'
            f"<figcaption><strong>{title}</strong>{escape(picture.caption)}"
            f"{_scale(picture.scale)}</figcaption></figure>"
        )
    return f'<div class="pictures">{"".join(figures)}</div>'


def _scale(colors: Sequence[str]) -> str:
    if not colors:
        return ""
    gradient = f"linear-gradient(to right, {', '.join(colors)})"
    bar = f'<span class="bar" style="background:{gradient}"></span>'
    return f'<span class="scale">a little unsure {bar} torn between two structures</span>'


def _table(rows: Sequence[Row]) -> str:
    largest = max((row.uncertainty or 0 for row in rows), default=0) or 1
    lines, group = [], None
    for row in rows:
        if row.group != group:
            group = row.group
            lines.append(f'<tr class="group"><td colspan="5">{escape(group)}</td></tr>')
        lines.append(_table_row(row, largest))
    return (
        '<div class="table"><table><thead><tr><th>Structure</th><th class="number">Volume (mL)</th>'
        '<th class="number">Mean (HU)</th><th>Uncertainty</th><th></th></tr></thead>'
        f"<tbody>{''.join(lines)}</tbody></table></div>"
    )


def _table_row(row: Row, largest_uncertainty: float) -> str:
    color = f'<span class="swatch" style="background:rgb{row.color}"></span>'
    hounsfield = "" if row.mean_hu is None else f"{row.mean_hu:.0f}"
    uncertainty = ""
    if row.uncertainty is not None:
        width = 100 * row.uncertainty / largest_uncertainty
        uncertainty = (
            f'<span class="meter"><i style="width:{width:.0f}%"></i></span>{row.uncertainty:.3f}'
        )
    mark = f'<span class="mark">{escape(row.flag)}</span>' if row.flag else ""
    return (
        f'<tr class="{"flagged" if row.flag else ""}"><td>{color}{escape(row.name)}</td>'
        f'<td class="number">{row.volume_ml:.1f}</td><td class="number">{hounsfield}</td>'
        f"<td>{uncertainty}</td><td>{mark}</td></tr>"
    )


def _files(files: Iterable[tuple[str, str]]) -> str:
    items = "".join(
        f'<li><a href="{escape(file)}"><code>{escape(file)}</code></a>: {escape(text)}</li>'
        for file, text in files
    )
    return f'<ul class="files">{items}</ul>'
