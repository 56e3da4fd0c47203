"""Pieces that the pictures share: shapes, text, colours; complete SVG text without a library."""

from __future__ import annotations

import unicodedata
from xml.etree import ElementTree

FONT = "ui-sans-serif, system-ui, 'Segoe UI', Helvetica, Arial, sans-serif"
GOOD, DOUBTFUL, BAD = "#2e7d5b", "#c98a1b", "#b3372f"
QUIET = "#68707a"


def start(width: float, height: float, title: str) -> ElementTree.Element:
    """Return an empty white picture."""
    svg = ElementTree.Element(
        "svg",
        xmlns="http://www.w3.org/2000/svg",
        viewBox=f"0 0 {width:g} {height:g}",
        width=f"{width:g}",
        height=f"{height:g}",
        role="img",
    )
    svg.set("font-family", FONT)
    ElementTree.SubElement(svg, "title").text = clean(title)
    add(svg, "rect", x=0, y=0, width=width, height=height, fill="#ffffff")
    return svg


def render(svg: ElementTree.Element) -> str:
    """Return the picture as text."""
    return ElementTree.tostring(svg, encoding="unicode") + "\n"


def add(parent: ElementTree.Element, tag: str, **attributes: str | float) -> ElementTree.Element:
    """Add a shape and return it; numbers are rounded to a tenth of a pixel."""
    shown = {k: f"{v:.1f}" if isinstance(v, float) else str(v) for k, v in attributes.items()}
    return ElementTree.SubElement(parent, tag, shown)


def text(
    parent: ElementTree.Element,
    x: float,
    y: float,
    words: str,
    *,
    size: int,
    fill: str = "#1f2933",
    weight: str = "400",
    anchor: str = "start",
    angle: int = 0,
) -> None:
    """Write words at a place, turned by `angle` degrees."""
    attributes = {"x": f"{x:.1f}", "y": f"{y:.1f}", "font-size": str(size), "fill": fill}
    element = ElementTree.SubElement(parent, "text", attributes | {"font-weight": weight, "text-anchor": anchor})
    if angle:
        element.set("transform", f"rotate({angle} {x:.1f} {y:.1f})")
    element.text = clean(words)


def clean(words: str) -> str:
    """Replace what XML 1.0 forbids even when escaped: control characters, surrogates, non-characters."""
    return "".join("\ufffd" if unicodedata.category(c) in ("Cc", "Cs") or c in "\ufffe\uffff" else c for c in words)


def short(words: str, length: int) -> str:
    """Cut words that are too long."""
    return words if len(words) <= length else words[: length - 1] + "…"
