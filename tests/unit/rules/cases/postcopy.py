"""Cases of vmferry/rules/postcopy.py."""

from __future__ import annotations

from typing import Any

from tests.unit.builders import IMAGES, build_disk, build_pair, build_vm
from tests.unit.rules.cases.making import DEST, SOURCE, Makers, make
from tests.unit.rules.cases.mirroring import mirror
from vmferry.model.convergence import PolicyName
from vmferry.model.facts import SystemFacts
from vmferry.model.migration import MigrationMode
from vmferry.model.transport import Encryption
from vmferry.model.vm import Device, DomainState, Nic, Vm
from vmferry.rules.case import Case

_PLAIN: dict[str, Any] = {"encryption": Encryption.NONE, "plain_networks": ("0.0.0.0/0",)}
_ADDRESSES = ("10.20.0.1", "10.20.0.2")


def asked(vm: Vm | None = None, *, encryption: dict[str, Any] = _PLAIN, **options: Any) -> Case:
    """A running VM whose host says `convergence: post-copy`."""
    hosts: list[dict[str, Any]] = [{**encryption, "migration_address": address} for address in _ADDRESSES]
    hosts[0]["convergence"] = PolicyName.POST_COPY
    return make(vm, source_host=hosts[0], dest_host=hosts[1], **options)


def with_memory(**attributes: str) -> Case:
    return asked(build_vm(devices=(Device(kind="memoryBacking", detail="", attributes=attributes),)))


DISK = f"{IMAGES}/a.qcow2"
LOCKED = build_vm(disks=(build_disk(DISK),))


def locked(*directories: str, vm: Vm = LOCKED) -> Case:
    pair = build_pair(SOURCE, DEST, (vm,), same_storage=(IMAGES,), locked_storage=directories)
    return asked(vm, pair=pair)


def unprivileged(**system: bool | None) -> dict[str, Any]:
    """A host whose QEMU runs as libvirt-qemu, and whose kernel lets only root use userfaultfd."""
    return {"qemu_uid": 64055, "system": SystemFacts(**{"may_all_use_userfaultfd": False, **system})}


TUNNEL: dict[str, Any] = {"encryption": Encryption.TUNNELLED}
# rule → (cases with a finding, cases without)
CASES: dict[str, tuple[Makers, Makers]] = {
    "postcopy-transport": (
        (lambda: asked(encryption=TUNNEL), lambda: asked(encryption={"encryption": Encryption.AUTO})),
        (
            asked,
            make,
            lambda: asked(build_vm(state=DomainState.PAUSED, state_reason="user"), encryption=TUNNEL),
            lambda: asked(encryption=TUNNEL, mode=MigrationMode.NON_LIVE),
        ),
    ),
    "postcopy-release": (
        (
            lambda: asked(source={"libvirt_version": 8_000_000}),
            lambda: asked(dest={"qemu_version": 2_012_000}),
        ),
        (asked, lambda: asked(source={"libvirt_version": 8_005_000}), lambda: make(dest={"qemu_version": 2_012_000})),
    ),
    "postcopy-memory": (
        (
            lambda: asked(build_vm(hugepages=True)),
            lambda: with_memory(access="shared"),
            lambda: asked(build_vm(devices=(Device(kind="shmem", detail="ring"),))),
            lambda: asked(build_vm(nics=(Nic(kind="vhostuser", mac="52:54:00:00:00:02"),))),
        ),
        (asked, lambda: with_memory(locked="yes"), lambda: make(build_vm(hugepages=True))),
    ),
    "postcopy-userfaultfd": (
        (
            lambda: asked(dest=unprivileged()),
            lambda: asked(dest=unprivileged(has_userfaultfd_device=True)),  # QEMU 7.2 does not know it
        ),
        (
            lambda: make(dest=unprivileged()),
            lambda: asked(source=unprivileged()),
            lambda: asked(dest=unprivileged() | {"qemu_uid": 0}),
            lambda: asked(dest=unprivileged() | {"qemu_uid": None}),
            lambda: asked(dest=unprivileged(may_all_use_userfaultfd=True)),
            lambda: asked(dest=unprivileged(may_all_use_userfaultfd=None)),
            lambda: asked(dest=unprivileged(has_userfaultfd_device=True) | {"qemu_version": 8_001_000}),
        ),
    ),
    "postcopy-mirror": (
        (lambda: mirror(host={"convergence": PolicyName.POST_COPY}),),
        (asked, mirror, lambda: mirror(host={"convergence": PolicyName.POST_COPY}, mode=MigrationMode.NON_LIVE)),
    ),
    "postcopy-locks": (
        (
            asked,
            lambda: locked(),
            lambda: asked(build_vm(disks=())),
            lambda: locked(IMAGES, vm=build_vm(disks=(build_disk(DISK), build_disk("/elsewhere/b.qcow2", "vdb")))),
        ),
        (lambda: locked(IMAGES), make),
    ),
}
