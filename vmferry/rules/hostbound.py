"""Rules about what else ties a VM to its host: files, addresses, jobs, CPU clock, raw arguments."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator

from vmferry.domxml.machine import RAW_QEMU
from vmferry.model.findings import Severity
from vmferry.model.vm import Device
from vmferry.rules import concerns
from vmferry.rules.case import Case
from vmferry.rules.rule import Rule, Scope, always, running
from vmferry.rules.sharing import LINES, host_files, is_shared, line_ends
from vmferry.rules.sources import ALLOWED

_EVERYWHERE = ("", "0.0.0.0", "::", "[::]", "127.0.0.1", "::1", "localhost")
# Devices whose other end is something of the host that vmferry cannot look for.
_TIED = {
    "input": "an input device of the host",
    "smartcard": "a card reader of the host",
    "pstore": "a file of the host",
    "lease": "a lock manager's lease",
    "vsock": "an address (CID) that must be free",
}


def _of_kind(case: Case, *kinds: str) -> Iterator[Device]:
    return (device for device in case.vm.devices if device.kind in kinds)


def block_job(case: Case) -> Iterator[str]:
    """No block job copies or commits a disk: libvirt refuses, and the job would be lost."""
    for device in _of_kind(case, "mirror"):
        blockjob = (
            f"virsh -c {case.source.host.uri} blockjob {case.vm.name} {device.attributes.get('target', 'TARGET')}"
        )
        is_ready = device.attributes.get("ready") in ("yes", "abort", "pivot")
        how = (
            f"it waits to be concluded: `{blockjob} --pivot`, or `--abort`"
            if is_ready
            else f"wait for it (`{blockjob} --info`) or end it: `{blockjob} --abort`"
        )
        yield f"vm {case.vm.name} has a block job ({device.detail}): {how}"


def invariant_tsc(case: Case) -> Iterator[str]:
    """A guest that was promised an invariant TSC has its frequency fixed in the XML."""
    for device in _of_kind(case, "feature"):
        if device.attributes.get("name") == "invtsc" and not device.attributes.get("tsc_frequency"):
            yield (
                f"vm {case.vm.name} has CPU feature invtsc without a TSC frequency; libvirt refuses to "
                f"migrate it; set <timer name='tsc' frequency='…'/> with `virsh edit {case.vm.name}` and "
                "restart the VM"
            )


def accelerated_video(case: Case) -> Iterator[str]:
    """No graphics memory lies in a GPU or process of the source: QEMU cannot carry it."""
    for device in _of_kind(case, "video", "graphics"):
        if device.kind == "video" or "rendernode" in device.attributes or device.detail.startswith("egl"):
            yield (
                f"vm {case.vm.name} draws with the GPU of {case.source.name} ({device.kind} "
                f"{device.detail}); turn 3D acceleration off with `virsh edit {case.vm.name}` and restart "
                "the VM, or move it offline"
            )


def graphics_address(case: Case) -> Iterator[str]:
    """A display or line does not listen on an address that only the source has."""
    for device in _of_kind(case, "graphics", *LINES):
        is_display = device.kind == "graphics"
        address = device.attributes.get("listen" if is_display else "address", "")
        host = address if is_display else address.rpartition(":")[0]
        if host not in _EVERYWHERE and device.attributes.get("mode") != "connect":
            yield (
                f"vm {case.vm.name}: {device.kind} listens on {address}, which {case.dest.name} must have "
                f"too; use 0.0.0.0 or a name that every host resolves to itself (`virsh edit {case.vm.name}`)"
            )


def character_path(case: Case) -> Iterator[str]:
    """A line that ends in a file or device of the host ends in a place that was looked for on the destination."""
    seen = case.pair.source_files if case.pair is not None else {}
    for device, path, place in line_ends(case.arriving):
        if place not in seen and case.dest.host.storage_of(path) is None:
            yield (
                f"vm {case.vm.name}: {device.kind} ends in {path}; make sure that it can be opened on "
                f"{case.dest.name}: `ssh {case.dest.host.ssh.address} ls -ld {place}`"
            )


def character_path_missing(case: Case) -> Iterator[str]:
    """What a line of the VM needs to end in is on the destination: a directory for a file, else the thing itself."""
    if case.pair is None:
        return
    for device, path, place in line_ends(case.arriving):
        if place in case.pair.source_files and place not in case.pair.dest_files:
            yield (
                f"vm {case.vm.name}: {device.kind} ends in {path}, and {case.dest.name} has no {place}: QEMU could not "
                f"start there; make it (`ssh {case.dest.host.ssh.address} mkdir -p {posixpath.dirname(path)}` for a "
                f"file), or end the line elsewhere (`virsh edit {case.vm.name}`)"
            )


def tied_device(case: Case) -> Iterator[str]:
    """Nothing else of the host is needed on the destination."""
    for device in _of_kind(case, *_TIED):
        if device.kind == "vsock" and device.attributes.get("auto") == "yes":
            continue
        if device.kind != "smartcard" or device.attributes.get("mode") in ("host", "host-certificates"):
            yield (
                f"vm {case.vm.name}: {device.kind} ({device.detail}) needs {_TIED[device.kind]}; make sure "
                f"that {case.dest.name} has it"
            )


def raw_arguments(case: Case) -> Iterator[str]:
    """No raw QEMU arguments or properties: neither libvirt nor vmferry knows what they mean on another host."""
    for device in _of_kind(case, *RAW_QEMU):
        yield (
            f"vm {case.vm.name} has raw QEMU arguments ({device.kind}: {device.detail}); make sure that they work on "
            f"{case.dest.name} unchanged: `virsh domxml-to-native qemu-argv --domain {case.vm.name}`"
        )


def host_file_missing(case: Case) -> Iterator[str]:
    """Files that every host must have (emulator, firmware, kernel, …) are there.

    Judged for those that the pair's reader looked for and found on the source.
    """
    if case.pair is None:
        return
    for path in host_files(case.arriving):
        if path in case.pair.source_files and path not in case.pair.dest_files and not is_shared(case, path, path):
            yield (
                f"vm {case.vm.name} needs {path}, which {case.dest.name} lacks; install the package that has "
                f"it (`rpm -qf {path}` or `dpkg -S {path}` on {case.source.name}), or give an XML with "
                "another path"
            )


RULES: tuple[Rule, ...] = (
    Rule("block-job", block_job, running(Severity.BLOCK), f"{ALLOWED}: block job; failure mode 41", scope=Scope.VM),
    Rule(
        "invariant-tsc", invariant_tsc, running(Severity.BLOCK), f"{ALLOWED}: invtsc; failure mode 28", scope=Scope.VM
    ),
    Rule(
        "accelerated-video",
        accelerated_video,
        running(Severity.BLOCK),
        "QEMU: virgl is not yet migratable",
        scope=Scope.VM,
    ),
    Rule(
        "graphics-address",
        graphics_address,
        always(Severity.WARN),
        "libvirt domain XML: graphics listen address",
        after_loss=Severity.WARN,
        concerns=concerns.devices("graphics", *LINES),
    ),
    Rule(
        "character-path",
        character_path,
        always(Severity.WARN),
        "failure mode 37: paths of the host",
        after_loss=Severity.WARN,
        concerns=concerns.devices(*LINES),
    ),
    Rule(
        "character-path-missing",
        character_path_missing,
        running(Severity.BLOCK, offline=Severity.WARN),
        "failure mode 37: paths of the host",
        after_loss=Severity.BLOCK,
        concerns=concerns.devices(*LINES),
    ),
    Rule(
        "tied-device",
        tied_device,
        always(Severity.WARN),
        "failure mode 30",
        after_loss=Severity.WARN,
        concerns=concerns.devices(*_TIED),
    ),
    Rule(
        "raw-arguments",
        raw_arguments,
        always(Severity.WARN),
        "libvirt drvqemu, qemu:commandline, qemu:override: no compatibility promise",
        after_loss=Severity.WARN,
        concerns=concerns.devices(*RAW_QEMU),
    ),
    Rule(
        "host-file-missing",
        host_file_missing,
        always(Severity.BLOCK),
        "failure mode 18; VIR_ERR_CONFIG_UNSUPPORTED",
        after_loss=Severity.BLOCK,
    ),
)
