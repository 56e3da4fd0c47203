"""All rules in the order of reports. A new rule is one function and one row; ids are stable."""

from __future__ import annotations

from vmferry.model.findings import Severity
from vmferry.model.host import Profile
from vmferry.model.migration import MigrationMode
from vmferry.rules import (
    compat,
    conflict,
    copying,
    devices,
    hostbound,
    hosts,
    network,
    reach,
    room,
    state,
    storage,
)
from vmferry.rules.rule import Rule, always, offline_only, running

BLOCK, WARN = Severity.BLOCK, Severity.WARN
DEVICE = running(BLOCK, offline=WARN)  # offline, the definition can move and be adapted there
ALLOWED = "libvirt qemuMigrationSrcIsAllowed"
SAFE = "libvirt qemuMigrationSrcIsSafe"
FACTS = "libvirt-facts, measured on libvirt 9.0"
IMAGES = "reference 9.1, Table 9.1"

RULES: tuple[Rule, ...] = (
    Rule(
        "xml-unreadable",
        state.xml_unreadable,
        always(BLOCK),
        "vmferry.domxml: what is not understood is not moved",
    ),
    Rule("xml-other-vm", state.other_vm, always(BLOCK), "reference 9.5: --xml adjusts the VM's own XML", is_final=True),
    Rule("already-moving", hosts.already_moving, always(BLOCK), f"{FACTS}: ERR 55; failure mode 47"),
    Rule("two-copies", conflict.two_copies, always(BLOCK), "failure mode 1", is_final=True),
    # the hosts
    Rule(
        "same-machine",
        hosts.same_machine,
        always(BLOCK),
        f"{FACTS}: same host; failure mode 45",
        is_final=True,
    ),
    Rule("hypervisor", hosts.hypervisor, always(BLOCK), "reference 9.5: both hosts use KVM"),
    Rule("user-session", hosts.user_session, always(BLOCK), "reference 9.3: user session", is_final=True),
    Rule("cordoned", hosts.cordoned, always(BLOCK), "failure mode 48"),
    Rule("ping", reach.ping, always(BLOCK), "reference 9.5: reach each other, ping"),
    Rule("libvirt-reach", reach.libvirt, always(BLOCK), "reference 9.5; failure mode 43"),
    # the VM's state
    Rule(
        "mode-state",
        state.mode_state,
        always(BLOCK),
        f"{IMAGES}; {FACTS}: OFFLINE on a running domain",
        is_final=True,
    ),
    Rule(
        "state-unmovable",
        state.state_unmovable,
        always(BLOCK),
        f"{ALLOWED}; failure modes 3, 20",
        is_final=True,
    ),
    Rule("active-job", state.active_job, always(BLOCK), f"{ALLOWED}: block job; failure mode 41"),
    Rule("snapshots", state.snapshots, always(BLOCK), f"{ALLOWED}: snapshots; failure mode 35"),
    Rule(
        "checkpoints",
        state.checkpoints,
        always(BLOCK, upstream=WARN),
        f"{FACTS}: checkpoint metadata is lost",
    ),
    Rule(
        "managed-save",
        state.managed_save,
        always(BLOCK),
        f"{FACTS}: managed save restored over the newer disk",
    ),
    Rule(
        "transient-offline",
        state.transient_offline,
        offline_only(BLOCK),
        "virDomainMigrate3: VIR_MIGRATE_OFFLINE",
    ),
    # names on the destination
    Rule("stale-definition", conflict.stale_definition, always(BLOCK), f"{FACTS}: replaced; failure mode 24"),
    Rule("uuid-taken", conflict.uuid_taken, always(BLOCK), f"{FACTS}: ERR 9", is_final=True),
    Rule("name-taken", conflict.name_taken, always(BLOCK), f"{FACTS}: ERR 9", is_final=True),
    # compatibility
    Rule("architecture", compat.architecture, always(BLOCK), "reference 9.5: supported hosts"),
    Rule("machine-type", compat.machine_type, always(BLOCK), "reference 9.6, Table 9.2; failure mode 29"),
    Rule("max-vcpus", compat.max_vcpus, always(BLOCK), "libvirt capabilities: machine maxCpus"),
    Rule(
        "qemu-older",
        compat.qemu_older,
        running(BLOCK, upstream=WARN, offline=WARN),
        "reference 9.6, Table 9.2; failure mode 29",
    ),
    Rule("libvirt-older", compat.libvirt_older, always(WARN), "reference 9.6, Table 9.2; failure mode 29"),
    Rule("cpu-not-compared", compat.cpu_not_compared, running(WARN), "failure mode 27; libvirt virCPUCompare"),
    # room
    Rule("memory", room.memory, running(BLOCK), "failure mode 46"),
    Rule("memory-total", room.memory_total, offline_only(WARN), "failure mode 46"),
    Rule("hugepages", room.hugepages, running(WARN), "failure mode 46: hugepages"),
    Rule(
        "vcpu-ratio",
        room.vcpu_ratio,
        running(BLOCK),
        "inventory reserves; features G: CPU ratio as constraint",
    ),
    # storage
    Rule(
        "storage-not-shared",
        storage.not_shared,
        running(BLOCK),
        f"{IMAGES}; reference 9.3: live storage migration",
    ),
    Rule("storage-not-proved", storage.not_proved, always(BLOCK), "failure mode 14", is_final=True),
    Rule(
        "block-device",
        storage.block_device,
        always(BLOCK),
        f"{SAFE} lets block devices through; failure mode 15",
    ),
    Rule("backing-chain", storage.backing_chain, always(BLOCK), f"{IMAGES}; failure mode 36"),
    Rule("local-media", storage.local_media, always(BLOCK), "failure mode 37"),
    Rule(
        "cache-mode",
        storage.cache_mode,
        running(BLOCK),
        f"{SAFE}, QEMU_CAPS_MIGRATION_FILE_DROP_CACHE; failure mode 16",
    ),
    Rule("volume-disk", storage.volume, always(BLOCK), f"{IMAGES}; failure mode 18"),
    Rule("disk-kind", storage.unsupported_kind, always(BLOCK), f"{SAFE}: NVMe; {IMAGES}"),
    Rule("transient-disk", storage.transient_disk, running(BLOCK), f"{ALLOWED}: transient disk"),
    # files of an offline move
    Rule("copy-target-exists", copying.target_exists, offline_only(BLOCK), "failure mode 17", is_final=True),
    Rule("copy-directory", copying.directory, offline_only(BLOCK), "failure mode 18"),
    Rule("copy-source-missing", copying.source_missing, offline_only(BLOCK), "failure mode 18"),
    Rule("copy-block-device", copying.block_source, offline_only(BLOCK), "failure mode 15"),
    Rule("copy-space", copying.space, offline_only(BLOCK), "failure mode 19"),
    Rule("copy-file-in-use", copying.file_in_use, offline_only(BLOCK), "failure mode 23", is_final=True),
    Rule("copy-unread", copying.unread, offline_only(WARN), "failure mode 17"),
    # network
    Rule(
        "bridge-missing",
        network.bridge_missing,
        always(BLOCK),
        "reference 9.5: public bridge; failure mode 32",
    ),
    Rule(
        "network-missing",
        network.network_missing,
        always(BLOCK),
        "libvirt VIR_ERR_NO_NETWORK; failure mode 32",
    ),
    Rule("nic-direct", network.nic_direct, always(WARN), "reference 9.5: same network; failure mode 33"),
    Rule("nic-passthrough", devices.card_passthrough, DEVICE, "reference 9.3: SR-IOV device assignment"),
    Rule("nic-vdpa", network.nic_vdpa, DEVICE, f"{ALLOWED}: vDPA"),
    Rule("nic-other", network.nic_other, always(WARN), f"{ALLOWED}: slirp; failure mode 33"),
    # devices
    Rule("passthrough", devices.passthrough, DEVICE, "reference 9.3: device passthrough"),
    Rule("mediated-device", devices.mediated, DEVICE, "reference 9.3: mediated devices"),
    Rule("numa-pinning", devices.numa_pinning, DEVICE, "reference 9.3: NUMA pinning"),
    Rule("filesystem", devices.filesystem, DEVICE, f"{ALLOWED}: virtiofs; {FACTS}: 9p is not refused"),
    Rule("shmem", devices.shmem, DEVICE, f"{ALLOWED}: shmem"),
    Rule("vdpa", devices.vdpa, DEVICE, f"{ALLOWED}: vDPA"),
    Rule("persistent-memory", devices.nvdimm, always(BLOCK), "failure mode 30; content stays on the source"),
    Rule(
        "launch-security",
        devices.launch_security,
        DEVICE,
        "failure mode 30; QEMU migration blocker of SEV, TDX",
    ),
    Rule("tpm-state", devices.tpm_state, offline_only(BLOCK), f"{FACTS}: OFFLINE deletes the vTPM state"),
    Rule("tpm-passthrough", devices.tpm_passthrough, DEVICE, "reference 9.3: device passthrough"),
    # other ties to the source
    Rule("block-job", hostbound.block_job, running(BLOCK), f"{ALLOWED}: block job; failure mode 41"),
    Rule("invariant-tsc", hostbound.invariant_tsc, running(BLOCK), f"{ALLOWED}: invtsc; failure mode 28"),
    Rule("accelerated-video", hostbound.accelerated_video, running(BLOCK), "QEMU: virgl is not yet migratable"),
    Rule(
        "graphics-address",
        hostbound.graphics_address,
        always(WARN),
        "libvirt domain XML: graphics listen address",
    ),
    Rule("character-path", hostbound.character_path, always(WARN), "failure mode 37: paths of the host"),
    Rule("tied-device", hostbound.tied_device, always(WARN), "failure mode 30"),
    Rule(
        "raw-arguments",
        hostbound.raw_arguments,
        always(WARN),
        "libvirt qemu:commandline: no compatibility promise",
    ),
    Rule(
        "host-file-missing",
        hostbound.host_file_missing,
        always(BLOCK),
        "failure mode 18; VIR_ERR_CONFIG_UNSUPPORTED",
    ),
)


def _cell(rule: Rule, profile: Profile) -> str:
    return " / ".join(str(rule.severity(profile, mode)).replace("ignore", "–") for mode in MigrationMode)


def _first_line(rule: Rule) -> str:
    return (rule.check.__doc__ or "").strip().splitlines()[0]


def render_rules() -> str:
    """Return all rules as a markdown table, severities as live / non-live / offline."""
    head = "| rule | what holds | rhel8 | upstream | may be lifted | source |\n|---|---|---|---|---|---|\n"
    rows = (
        f"| `{r.id}` | {_first_line(r)} | {_cell(r, Profile.RHEL8)} | {_cell(r, Profile.UPSTREAM)} | "
        f"{'never' if r.is_final else 'no option yet'} | {r.source} |\n"
        for r in RULES
    )
    return head + "".join(rows)
