"""`vmferry inspect` on files made to hurt: each in a process of its own that may take 10 s of CPU and 600 MiB."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from vmferry.domxml.parse import MAX_BYTES, MAX_ELEMENTS

CPU_S = 10
MEMORY_BYTES = 600 << 20  # address space; the command alone takes 150 MiB
NICS = "<interface type='hostdev'><mac address='{}'/></interface>"


def laughs(place: str) -> str:
    """Return the billion laughs: 10⁹ words in 1 KiB."""
    entities = "".join(f"<!ENTITY l{i} '{f'&l{i - 1};' * 10 if i else 'ha'}'>" for i in range(10))
    return f"<!DOCTYPE domain [{entities}]><domain>{place}</domain>"


def quadratic() -> str:
    """Return one long entity used very often."""
    return f"<!DOCTYPE domain [<!ENTITY a '{'x' * 100_000}'>]><domain><name>{'&a;' * 100_000}</name></domain>"


def filled(unit: str) -> Callable[[], str]:
    """Return a maker of a domain that is filled with `unit` up to the limit of bytes or elements."""

    def make() -> str:
        count = min((MAX_BYTES - 200) // len(unit.format(0) + "0" * 6), MAX_ELEMENTS // max(1, unit.count("<")) - 10)
        units = "".join(unit.format(n) for n in range(count))
        return (
            f"<domain type='kvm'><name>a</name><uuid>{'1' * 32}</uuid><memory>1</memory>"
            f"<devices>{units}</devices></domain>"
        )

    return make


HOSTILE: dict[str, Callable[[], str]] = {
    "laughs": lambda: laughs("<name>&l9;</name>"),
    "laughs-in-an-attribute": lambda: laughs("<name a='&l9;'/>"),
    "quadratic": quadratic,
    "deep": lambda: "<domain>" * 1_000_000,
    "tags": lambda: "<domain>" + "<a/>" * (MAX_BYTES // 4 - 10) + "</domain>",
    "comments": lambda: "<domain>" + "<!---->" * (MAX_BYTES // 7 - 10) + "</domain>",
    "attributes": lambda: "<domain " + " ".join(f"a{n:x}=''" for n in range(700_000)) + "/>",
    "text": lambda: f"<domain><name>{'x' * (MAX_BYTES - 100)}</name></domain>",
    "cards-handed-through": filled(NICS),
    "disks": filled("<disk type='file'><source file='/{0}'/><target dev='vd{0}'/></disk>"),
    "same-disks": filled("<disk/>"),
    "backing-files": filled("<disk><source file='/a'/><backingStore><source file='/{}'/></backingStore></disk>"),
    "host-devices": filled("<hostdev type='usb'><source><vendor id='{}'/></source></hostdev>"),
    "mirrors": filled("<disk><target dev='a{}'/><mirror/></disk>"),
    "lines": filled("<serial type='file'><source path='/{}'/></serial>"),
    "memory": filled("<memory model='nvdimm'><target><size>{}</size></target></memory>"),
}


def _limit() -> None:
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_S, CPU_S))
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))


def bounded(*files: Path, stdin: int | None = None) -> tuple[int, list[dict[str, object]]]:
    """Run the command within the limits; a process that breaks one is killed, or has no memory and says so."""
    done = subprocess.run(
        [sys.executable, "-m", "vmferry.cli", "inspect", "--json", *map(str, files)],
        stdin=stdin,
        capture_output=True,
        text=True,
        timeout=6 * CPU_S,
        preexec_fn=_limit,
    )
    assert "Traceback" not in done.stderr
    assert done.returncode in (0, 3, 4), done.stderr[-500:]
    return done.returncode, [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_file_made_to_hurt_is_judged_or_refused_in_bounded_time_and_memory(tmp_path: Path, kind: str) -> None:
    hostile, after = tmp_path / "hostile.xml", tmp_path / "after.xml"
    hostile.write_text(HOSTILE[kind]())
    after.write_text("<domain type='kvm'/>")
    _, lines = bounded(hostile, after)
    assert len(lines) == 2
    assert "unexpected" not in str(lines[0].get("error", ""))
    assert "findings" in lines[1]


def test_a_hundred_megabytes_are_refused_by_their_size(tmp_path: Path) -> None:
    huge = tmp_path / "huge.xml"
    with huge.open("wb") as file:
        file.write(b"<domain>")
        file.truncate(100 * 1000 * 1000)
    code, lines = bounded(huge)
    assert (code, lines[0]["error"]) == (
        3,
        f"has 100000000 bytes; domain XML of more than {MAX_BYTES} bytes is not read",
    )


def test_an_endless_stream_is_refused(tmp_path: Path) -> None:
    with Path("/dev/zero").open("rb") as endless:
        code, lines = bounded(Path("-"), stdin=endless.fileno())
    assert code == 3
    assert "bytes" in str(lines[0]["error"])
