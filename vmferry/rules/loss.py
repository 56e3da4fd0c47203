"""Rules that matter only when a host is lost: its VMs would have to be started elsewhere, and nothing could be copied.

They are asked by `vmferry.rules.check.check_loss`, together with those of other subjects that say so themselves
(`Rule.after_loss`). Reach, jobs, snapshots and versions do not matter then: nobody asks a dead source, and no memory
is carried over.
"""

from __future__ import annotations

from collections.abc import Iterator

from vmferry.model.findings import Severity
from vmferry.rules import concerns
from vmferry.rules.case import Case
from vmferry.rules.mirroring import mirrored
from vmferry.rules.rule import Rule
from vmferry.rules.sharing import is_shared
from vmferry.rules.sources import FACTS

_SWTPM = "/var/lib/libvirt/swtpm"  # libvirt's swtpmStorageDir (src/qemu/qemu_conf.c)


def nvram_lost(case: Case) -> Iterator[str]:
    """The NVRAM is on storage that the other host sees; without it a guest with UEFI starts from a fresh template."""
    path = case.vm.nvram
    if path and not is_shared(case, path, path):
        yield (
            f"vm {case.vm.name}: its NVRAM {path} is on {case.source.name} only and would be lost with it, boot "
            f"entries and keys included; keep a copy, or put it on storage that {case.dest.name} sees too"
        )


def tpm_lost(case: Case) -> Iterator[str]:
    """No emulated TPM's state would be lost: what the guest sealed with it could not be opened again."""
    for device in case.vm.devices:
        if device.kind != "tpm" or device.attributes.get("type", "emulator") != "emulator":
            continue
        path = device.attributes.get("path") or f"{_SWTPM}/{case.vm.uuid}"
        if not is_shared(case, path, path):
            yield (
                f"vm {case.vm.name}: the state of its TPM ({path}) is on {case.source.name} only and would be lost "
                "with it, and with it every key that the guest sealed; keep the recovery keys of its disks elsewhere"
            )


def disk_lost(case: Case) -> Iterator[str]:
    """No disk lies on the lost host alone: what a live move would have mirrored is gone with it."""
    for mirror in mirrored(case):
        yield (
            f"vm {case.vm.name}: disk {mirror.disk.target} ({mirror.path}) is on {case.source.name} only and would be "
            f"lost with it; keep backups, or put it on storage that {case.dest.name} sees too"
        )


def storage_believed(case: Case) -> Iterator[str]:
    """That the other host sees the disks was proved, not only declared."""
    if case.pair is None and any(disk.is_local_path for disk in case.vm.disks):
        yield (
            f"vm {case.vm.name}: that {case.dest.name} sees its disks is what the inventory says; nobody looked from "
            f"{case.source.name}; `vmferry check` does"
        )


RULES: tuple[Rule, ...] = (
    Rule(
        "nvram-lost",
        nvram_lost,
        {},
        f"{FACTS}: a fresh NVRAM template",
        after_loss=Severity.BLOCK,
        concerns=concerns.nvram,
    ),
    Rule(
        "tpm-lost",
        tpm_lost,
        {},
        "failure mode 39: state of swtpm",
        after_loss=Severity.BLOCK,
        concerns=concerns.devices("tpm"),
    ),
    Rule("disk-lost", disk_lost, {}, "failure mode 14: storage of one host", after_loss=Severity.BLOCK),
    Rule("storage-believed", storage_believed, {}, "failure mode 14", after_loss=Severity.WARN),
)
