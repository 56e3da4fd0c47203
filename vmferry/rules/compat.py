"""Rules about what the destination's QEMU and libvirt can take over."""

from __future__ import annotations

from collections.abc import Iterator

from vmferry.model.facts import Firmware
from vmferry.model.findings import Severity
from vmferry.rules import concerns
from vmferry.rules.case import Case
from vmferry.rules.machines import canonical_machine
from vmferry.rules.release_rules import is_supported_backward
from vmferry.rules.rule import Rule, always, running

_SAME_BINARY = {"i686": "x86_64"}  # an i686 guest runs on x86_64 KVM


def version_text(version: int) -> str:
    """Return 7002001 as 7.2.1 (libvirt's encoding: major·10⁶ + minor·10³ + release)."""
    return f"{version // 1_000_000}.{version // 1000 % 1000}.{version % 1000}"


def architecture(case: Case) -> Iterator[str]:
    """KVM runs guests of the host's own architecture."""
    arch = case.vm.arch
    if case.vm.domain_type == "kvm" and case.dest.facts.arch not in (arch, _SAME_BINARY.get(arch)):
        yield (
            f"vm {case.vm.name} is {arch}, {case.dest.name} is {case.dest.facts.arch}; choose a host of its "
            "architecture"
        )


def machine_type(case: Case) -> Iterator[str]:
    """The destination's QEMU knows the VM's canonical machine type."""
    machine = canonical_machine(case)
    if machine is not None and machine not in case.dest.canonical_machines:
        alias = f" (alias {case.vm.machine})" if machine != case.vm.machine else ""
        yield (
            f"vm {case.vm.name} has machine type {machine}{alias}; QEMU "
            f"{version_text(case.dest.facts.qemu_version)} on {case.dest.name} does not offer it; choose another host "
            f"or update QEMU there (`virsh -c {case.dest.host.uri} capabilities` lists its machine types)"
        )


def max_vcpus(case: Case) -> Iterator[str]:
    """The machine type takes as many vCPUs on the destination, those that may be plugged in included."""
    limit = case.dest.max_vcpus.get(canonical_machine(case) or "")
    most = max(case.vm.vcpus, case.vm.max_vcpus)
    if limit is not None and most > limit:
        yield (
            f"vm {case.vm.name} may have {most} vCPUs ({case.vm.vcpus} now); its machine type takes {limit} on "
            f"{case.dest.name}; choose another host, or lower <vcpu> (`virsh edit {case.vm.name}`) and restart the VM"
        )


def firmware_missing(case: Case) -> Iterator[str]:
    """The destination offers the firmware that the VM boots with: its kind, its loader, secure boot."""
    offered, wanted = case.dest.facts.firmware, case.arriving.firmware
    if offered is None or wanted is None or case.arriving.arch != case.dest.facts.arch:  # read for one architecture
        return
    if wanted.startswith("/"):
        if _is_loader_missing(case, offered, wanted):
            have = ", ".join(offered.loaders) or "none"
            yield _no_firmware(case, f"needs loader {wanted}", f"has no such file and offers {have}")
        return
    if wanted not in offered.kinds:
        yield _no_firmware(case, f"needs {wanted} firmware", f"offers {', '.join(offered.kinds) or 'none'}")
    # A loader that is named is that very file on both hosts; only a search may find one without secure boot.
    if not offered.has_secure_boot and any(device.kind == "secure-boot" for device in case.arriving.devices):
        yield _no_firmware(case, "needs firmware with secure boot", "offers none")


def _is_loader_missing(case: Case, offered: Firmware, path: str) -> bool:
    """Whether the file was looked for and not found; `host-file-missing` judges files that the source has.

    Where the VM has no loader on the source, the reader of the pair had no path to look for.
    """
    return (
        case.pair is not None
        and (case.vm.firmware or "").startswith("/")
        and path not in offered.loaders
        and path not in case.pair.dest_files
        and path not in case.pair.source_files
    )


def _no_firmware(case: Case, needs: str, have: str) -> str:
    return (
        f"vm {case.vm.name} {needs}; {case.dest.name} {have}; install it there (package edk2-ovmf or ovmf), then see "
        f"`virsh -c {case.dest.host.uri} domcapabilities`, or choose another host"
    )


def qemu_older(case: Case) -> Iterator[str]:
    """The destination's QEMU is not older, or Table 9.2 supports the way back to it.

    Devices' state is only carried forward, but Red Hat tests the backward paths of the table, where QEMU is older by
    nature: there machine type and CPU decide. Compared by major and minor version: stable releases (7.2.1 and 7.2.0)
    are alike.
    """
    source, dest = case.source.facts.qemu_version, case.dest.facts.qemu_version
    if dest // 1000 < source // 1000 and (case.is_offline or not is_supported_backward(case)):
        yield _older("QEMU", source, dest, case)


def libvirt_older(case: Case) -> Iterator[str]:
    """The destination's libvirt is not older: it may not know what the newer one writes into the XML."""
    source, dest = case.source.facts.libvirt_version, case.dest.facts.libvirt_version
    if dest // 1000 < source // 1000:
        yield _older("libvirt", source, dest, case)


def _older(what: str, source: int, dest: int, case: Case) -> str:
    return (
        f"{what} {version_text(dest)} on {case.dest.name} is older than {version_text(source)} on "
        f"{case.source.name}; update {case.dest.name} first, or move vm {case.vm.name} to a host with at "
        f"least {version_text(source)}"
    )


RULES: tuple[Rule, ...] = (
    Rule(
        "architecture",
        architecture,
        always(Severity.BLOCK),
        "reference 9.5: supported hosts",
        is_final=True,
        after_loss=Severity.BLOCK,
    ),
    Rule(
        "machine-type",
        machine_type,
        always(Severity.BLOCK),
        "reference 9.6, Table 9.2; failure mode 29",
        after_loss=Severity.BLOCK,
    ),
    Rule(
        "max-vcpus",
        max_vcpus,
        always(Severity.BLOCK),
        "libvirt capabilities: machine maxCpus",
        after_loss=Severity.BLOCK,
    ),
    Rule(
        "firmware-missing",
        firmware_missing,
        always(Severity.BLOCK),
        "libvirt domain capabilities: os, loader",
        after_loss=Severity.BLOCK,
        concerns=concerns.chosen_firmware,
    ),
    Rule(
        "qemu-older",
        qemu_older,
        running(Severity.BLOCK, upstream=Severity.WARN, offline=Severity.WARN),
        "reference 9.6, Table 9.2; failure mode 29",
    ),
    Rule("libvirt-older", libvirt_older, always(Severity.WARN), "reference 9.6, Table 9.2; failure mode 29"),
)
