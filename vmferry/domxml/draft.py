"""Edits on XML text that leave every other character as it is.

lxml knows what an element means but not where it stands; a serialiser would turn quotes, CDATA and white
space into its own. So a draft finds the place of each element in the text (of a document that lxml has
accepted) and replaces only those characters that are to change.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from lxml import etree

# In a well-formed document without a document type every "<" opens exactly one of these.
_TOKEN = re.compile(
    r"""<!--.*?--> | <!\[CDATA\[.*?\]\]> | <\?.*?\?> | <(?:[^"'<>]++ | "[^"]*+" | '[^']*+')*+>""",
    re.DOTALL | re.VERBOSE,
)
_ATTRIBUTE = re.compile(r"""\s+(?P<name>[^\s=/>"']+)\s*=\s*(?P<quote>["'])(?P<value>.*?)(?P=quote)""", re.DOTALL)
_TAG_NAME = re.compile(r"<[^\s/>]+")


class Place(NamedTuple):
    """Where an element stands: `<` of its start tag, its content, and behind its end tag."""

    start: int
    content: int
    content_end: int
    end: int

    @property
    def is_empty_tag(self) -> bool:
        """Whether it is written `<so/>`."""
        return self.content == self.end


class Draft:
    """A document and the edits collected for it; edits of one element must not overlap."""

    def __init__(self, text: str, root: etree._Element) -> None:
        self._text = text
        self._places = dict(zip(root.iter("*"), _places(text), strict=True))
        self._edits: list[tuple[int, int, str]] = []

    def result(self) -> str:
        """Return the text with all edits applied; at one place insertions come first, in their order."""
        parts, position = [], 0
        for start, end, replacement in sorted(self._edits, key=lambda edit: edit[:2]):
            parts += [self._text[position:start], replacement]
            position = end
        return "".join([*parts, self._text[position:]])

    def set_attribute(self, element: etree._Element, name: str, value: str) -> None:
        """Give an attribute a value; a new one goes before all others."""
        found = self._attribute(element, name)
        if found is None:
            end_of_name = self._tag_name_end(element)
            self._edits.append((end_of_name, end_of_name, _pair(name, value)))
        else:
            self._edits.append((*found.span("value"), _escape(value, quote=found["quote"])))

    def drop_attribute(self, element: etree._Element, name: str) -> None:
        """Remove an attribute with the white space before it, if it is there."""
        found = self._attribute(element, name)
        if found is not None:
            self._edits.append((*found.span(), ""))

    def set_text(self, element: etree._Element, text: str) -> None:
        """Replace all that the element holds by text."""
        place = self._places[element]
        if place.is_empty_tag:
            self._edits.append((place.start, place.end, f"<{element.tag}>{_escape(text)}</{element.tag}>"))
        else:
            self._edits.append((place.content, place.content_end, _escape(text)))

    def insert_before(self, element: etree._Element, markup: str) -> None:
        """Put markup before an element, on a line of its own where the element has one."""
        start = self._places[element].start
        line = self._text[self._text.rfind("\n", 0, start) + 1 : start]
        gap = f"\n{line}" if not line.strip() and line != self._text[:start] else ""
        self._edits.append((start, start, markup + gap))

    def _attribute(self, element: etree._Element, name: str) -> re.Match[str] | None:
        matches = _ATTRIBUTE.finditer(self._text, self._tag_name_end(element), self._places[element].content)
        return next((match for match in matches if match["name"] == name), None)

    def _tag_name_end(self, element: etree._Element) -> int:
        match = _TAG_NAME.match(self._text, self._places[element].start)
        assert match is not None
        return match.end()


def _places(text: str) -> list[Place]:
    """Return the place of every element in document order, which is the order of lxml's `iter`."""
    starts: list[tuple[int, int]] = []
    ends: dict[int, tuple[int, int]] = {}
    opened: list[int] = []
    for token in _TOKEN.finditer(text):
        kind = text[token.start() + 1]
        if kind in "!?":
            continue
        if kind == "/":
            ends[opened.pop()] = token.span()
            continue
        if text[token.end() - 2] == "/":
            ends[len(starts)] = (token.end(), token.end())
        else:
            opened.append(len(starts))
        starts.append(token.span())
    return [Place(*span, *ends[index]) for index, span in enumerate(starts)]


def element_markup(tag: str, text: str = "", **attributes: str) -> str:
    """Return one element as libvirt writes it, with single quotes."""
    pairs = "".join(_pair(name, value) for name, value in attributes.items())
    return f"<{tag}{pairs}>{_escape(text)}</{tag}>" if text else f"<{tag}{pairs}/>"


def _pair(name: str, value: str) -> str:
    return f" {name}='" + _escape(value, quote="'") + "'"


def _escape(text: str, quote: str = "") -> str:
    escaped = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    escaped = escaped.replace("\r", "&#13;")
    if quote:
        escaped = escaped.replace("\n", "&#10;").replace("\t", "&#9;")
        escaped = escaped.replace(quote, "&quot;" if quote == '"' else "&apos;")
    return escaped
