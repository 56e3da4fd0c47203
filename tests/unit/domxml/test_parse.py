"""Hostile and broken XML: InvalidInput with a sentence, in bounded time."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.examples import examples
from tests.unit.domxml.samples import domain, sample
from vmferry.domxml.parse import MAX_BYTES, MAX_ELEMENTS
from vmferry.domxml.read import parse_vm
from vmferry.errors import InvalidInput

BOMB = "".join(f"<!ENTITY e{i} '{f'&e{i - 1};' * 10 if i else 'x' * 10}'>" for i in range(12))
LIVE = sample("web1-live.xml")
LIVE_BYTES = LIVE.encode()


def read_or_refuse(xml: str | bytes) -> None:
    """Read; the only exception that may come is InvalidInput with a sentence."""
    try:
        parse_vm(xml)
    except InvalidInput as error:
        assert str(error)
        assert "\n" not in str(error)


@pytest.mark.parametrize(
    ("xml", "message"),
    [
        ("", "empty"),
        ("  \n", "empty"),
        ("no XML", "not well-formed"),
        ("<domain>", "not well-formed"),
        ("<domain><name>a</domain>", "line 1"),
        ("<domain>&nbsp;</domain>", "not well-formed"),
        ("<domain>\x00</domain>", "not well-formed"),
        ("<domain>\ud800</domain>", "surrogate"),
        (b"<?xml version='1.0' encoding='klingon'?><domain/>", "not well-formed"),
        (b"<domain>\xff</domain>", "not well-formed"),
        ("<network><name>default</name></network>", "the root is <network>"),
        ("<x:domain xmlns:x='urn:x'/>", "the root is"),
        ("<domain>" * 300, "not well-formed"),
        ("<!DOCTYPE domain><domain/>", "<!DOCTYPE"),
        (
            "<!DOCTYPE d [<!ENTITY a SYSTEM 'file:///etc/passwd'>]><domain><name>&a;</name></domain>",
            "<!DOCTYPE",
        ),
        ("<!DOCTYPE d SYSTEM 'http://127.0.0.1:9/d.dtd'><domain/>", "<!DOCTYPE"),
        (f"<!DOCTYPE d [{BOMB}]><domain><name>&e11;</name></domain>", ""),
        (f"<!DOCTYPE d [{BOMB}]><domain type='&e11;'/>", ""),
        ("<domain>" + " " * MAX_BYTES + "</domain>", "bytes"),
        ("<domain>" + "<a/>" * MAX_ELEMENTS + "</domain>", "elements"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_what_is_no_domain_is_refused_with_the_reason(xml: str | bytes, message: str) -> None:
    started = time.monotonic()
    with pytest.raises(InvalidInput, match="domain") as refusal:
        parse_vm(xml)
    assert message in str(refusal.value)
    assert len(str(refusal.value)) < 200
    assert time.monotonic() - started < 5


def test_a_domain_with_a_thousand_disks_is_read() -> None:
    disks = "".join(f"<disk><source file='/d/{i}'/><target dev='vd{i}'/></disk>" for i in range(1000))
    assert len(parse_vm(domain(disks)).disks) == 1000


@pytest.mark.parametrize(
    "devices",
    [
        "<disk/>",
        "<console type='file'><source path='/a'/></console>",
        "<interface type='bridge'/>",
        "<hostdev type='pci'/>",
        "<disk type='nvme'><mirror/></disk>",
        "<memory model='dimm'/>",
    ],
)
def test_a_domain_of_the_largest_size_takes_seconds(devices: str) -> None:
    started = time.monotonic()
    parse_vm(domain(devices * (MAX_ELEMENTS // (devices.count("<") + 1))))
    assert time.monotonic() - started < 30


def test_names_from_outside_do_not_flood_a_message() -> None:
    with pytest.raises(InvalidInput) as refusal:
        parse_vm(f"<{'x' * 100_000}/>")
    assert len(str(refusal.value)) < 200


def test_a_domain_cut_off_at_any_byte_is_refused() -> None:
    for end in range(len(LIVE_BYTES) - len(b"\n")):
        with pytest.raises(InvalidInput):
            parse_vm(LIVE_BYTES[:end])


@given(st.binary(max_size=300))
def test_random_bytes_are_read_or_refused(data: bytes) -> None:
    read_or_refuse(data)
    read_or_refuse(b"<domain>" + data + b"</domain>")


@given(st.text(max_size=300))
def test_random_text_is_read_or_refused(text: str) -> None:
    read_or_refuse(text)
    read_or_refuse(f"<domain><memory unit='{text}'>{text}</memory></domain>")


@examples(300)
@given(
    st.integers(0, len(LIVE) - 1),
    st.integers(0, 40),
    st.text(alphabet="<>/='\"&;! -ax1\ud800\x00", max_size=6),
)
def test_a_damaged_domain_is_read_or_refused(start: int, length: int, patch: str) -> None:
    read_or_refuse(LIVE[:start] + patch + LIVE[start + length :])
