# SPDX-License-Identifier: Apache-2.0
"""The page of the demo: complete, self-contained, and safe for whatever a file is called."""

from __future__ import annotations

from html.parser import HTMLParser

import pytest

from demo.page import Page, Picture, Row

VOID = {"meta", "img", "br", "hr", "link", "input"}


class Reader(HTMLParser):
    """Collects text, links and tags of a page, and checks that every tag is closed."""

    def __init__(self) -> None:
        super().__init__()
        self.open, self.text, self.links, self.classes = [], [], [], []

    def handle_starttag(self, tag, attributes):
        values = dict(attributes)
        self.links += [values[name] for name in ("href", "src") if name in values]
        self.classes += (values.get("class") or "").split()
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def read(page: Page) -> Reader:
    reader = Reader()
    reader.feed(page.render())
    reader.close()
    assert reader.open == []
    return reader


@pytest.fixture
def content() -> dict:
    """Return the parts of a small page."""
    return {
        "title": "MuscleSeg",
        "summary": "One CT.",
        "facts": [("Image", "A CT <with> brackets")],
        "notes": [],
        "flags": ["Femur: uncertain."],
        "pictures": [Picture("muscleseg/axial.png", "Axial", "Look here.", wide=True)],
        "no_pictures": "",
        "rows": [
            Row("Femur, left", "Bones", (255, 238, 170), 312.34, 401.6, 0.2, "uncertain"),
            Row("Femur, right", "Bones", (255, 238, 170), 310.0, None, None),
            Row("Gracilis, left", "Muscles of the thigh", (1, 2, 3), 80.0, 51.2, 0.1),
        ],
        "model": ["It learned from label maps."],
        "files": [("muscleseg/result.json", "what was run")],
        "disclaimer": "Research software, not a medical device.",
    }


def test_everything_is_on_the_page(content):
    reader = read(Page(**content))
    text = " ".join(reader.text)
    for part in (
        "One CT.",
        "A CT <with> brackets",
        "Femur: uncertain.",
        "Look here.",
        "312.3",
        "402",
        "0.200",
        "It learned from label maps.",
        "not a medical device",
    ):
        assert part in text, part
    assert {"muscleseg/axial.png", "muscleseg/result.json"} <= set(reader.links)


def test_nothing_is_fetched_from_elsewhere(content):
    page = Page(**content)
    assert not [link for link in read(page).links if "//" in link]
    assert "@import" not in page.render()
    assert "<script" not in page.render()


def test_structures_are_grouped_and_flags_stand_out(content):
    reader = read(Page(**content))
    assert reader.classes.count("group") == 2
    assert reader.classes.count("flagged") == 1


def test_the_reason_is_given_where_there_are_no_pictures(content):
    content |= {"pictures": [], "no_pictures": "Install the package libosmesa6."}
    reader = read(Page(**content))
    assert "Install the package libosmesa6." in reader.text
    assert not [link for link in reader.links if link.endswith(".png")]


def test_text_cannot_become_markup(content):
    content |= {"notes": ["<script>alert(1)</script>"], "title": '"><b>'}
    page = Page(**content).render()
    assert "<script" not in page
    assert "<b>" not in page
