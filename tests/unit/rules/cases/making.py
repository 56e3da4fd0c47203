"""Moves in one line each: everything is right with them unless told otherwise."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.unit.builders import (
    GIB,
    LOCAL,
    build_disk,
    build_facts,
    build_host,
    build_off_vm,
    build_pair,
    build_snapshot,
    build_uuid,
    build_vm,
)
from vmferry.model.facts import FileFacts, Reach
from vmferry.model.host import PairFacts, Profile
from vmferry.model.migration import DomainChanges, MigrationMode
from vmferry.model.vm import Device, DomainState, Nic, Vm
from vmferry.planning.mode import choose_mode
from vmferry.rules.case import Case, Fleet, apply_changes

SOURCE, DEST = "source-example", "dest-example"
RHEL8 = {"profile": Profile.RHEL8}
_UNSET = build_pair(SOURCE, DEST)


def make(
    vm: Vm | None = None,
    *,
    source: dict[str, Any] | None = None,
    dest: dict[str, Any] | None = None,
    source_host: dict[str, Any] | None = None,
    dest_host: dict[str, Any] | None = None,
    pair: PairFacts | None = _UNSET,
    others: tuple[Vm, ...] = (),
    mode: MigrationMode | None = None,
    changes: DomainChanges | None = None,
    third: tuple[Vm, ...] | None = None,
    **snapshot: Any,
) -> Case:
    """A case that passes unless told otherwise; the pair's files are read from the source's VMs."""
    vm = vm or build_vm()
    vms = (vm, *others)
    made = build_pair(SOURCE, DEST, vms) if pair is _UNSET else pair
    hosts: list[Any] = [
        (build_host(SOURCE, **(source_host or {})), build_facts(SOURCE, vms, **(source or {}))),
        (build_host(DEST, **(dest_host or {})), build_facts(DEST, **(dest or {}))),
    ]
    if third is not None:
        hosts.append((build_host("third-example"), build_facts("third-example", third)))
    fleet = Fleet(build_snapshot(hosts, pairs=[made] if made else [], **snapshot))
    arriving = apply_changes(vm, changes) if changes else None
    return fleet.case(vm, SOURCE, DEST, choose_mode(vm, mode)[0], arriving)


def on(**fields: Any) -> Case:
    """A running VM with these fields."""
    return make(build_vm(**fields))


def off(**fields: Any) -> Case:
    """A shut-off VM with these fields."""
    return make(build_off_vm(**fields))


def with_device(kind: str, detail: str = "", **attributes: str) -> Case:
    return on(devices=(Device(kind=kind, detail=detail, attributes=attributes),))


def with_disk(**fields: Any) -> Case:
    return on(disks=(build_disk(**fields),))


def with_nic(kind: str, source: str | None = None, **options: Any) -> Case:
    return make(build_vm(nics=(Nic(kind=kind, source=source, mac="52:54:00:00:00:02"),)), **options)


def off_pair(**fields: Any) -> PairFacts:
    return build_pair(SOURCE, DEST, (build_off_vm(),), **fields)


DISK4 = f"{LOCAL}/wanderer4.qcow2"
THERE = FileFacts(path=DISK4, size_bytes=GIB, allocated_bytes=GIB)
BAD = Reach(is_ok=False, detail="100% packet loss")
OVMF = "/usr/share/OVMF/OVMF_CODE.fd"
OVMF_FACTS = {OVMF: FileFacts(path=OVMF, size_bytes=1, allocated_bytes=1)}
DEVICE_UUID = "c2177883-f1bb-47f0-914d-32a22e3a8804"


def firmware(dest_files: dict[str, FileFacts]) -> Case:
    vm = build_vm(firmware=OVMF)
    return make(vm, pair=build_pair(SOURCE, DEST, source_files=OVMF_FACTS, dest_files=dest_files))


def double(case: Callable[..., Case] = make, **fields: Any) -> Case:
    """A case with a domain of the same UUID on the destination."""
    there = build_vm(**{"uuid": build_uuid("wanderer1"), **fields})
    return case(dest={"vms": (there,)})


Makers = tuple[Callable[[], Case], ...]
OFF_STATE: dict[str, Any] = {"state": DomainState.SHUTOFF, "state_reason": "shutdown"}
