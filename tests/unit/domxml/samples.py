"""The domain XML that these tests read, and small domains made for one test."""

from __future__ import annotations

from pathlib import Path

DATA = Path(__file__).parent / "data"
FILES = sorted(DATA.rglob("*.xml"))
UUID_TEXT = "4dea22b3-1d52-d8f3-2516-782e98ab3fa0"


def sample(name: str) -> str:
    """Return one captured domain."""
    return (DATA / name).read_text()


def domain(devices: str = "", *, before: str = "", head: str = "type='kvm'", memory: str = "") -> str:
    """Return a small domain; `before` stands before its devices."""
    memory = memory or "<memory unit='KiB'>1048576</memory>"
    return (
        f"<domain {head}>\n  <name>vm1</name>\n  <uuid>{UUID_TEXT}</uuid>\n  {memory}\n  {before}\n"
        "  <os><type arch='x86_64' machine='q35'>hvm</type></os>\n"
        f"  <devices>\n    {devices}\n  </devices>\n</domain>\n"
    )
