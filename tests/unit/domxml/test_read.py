"""Domain XML becomes a `Vm`, or a `Vm` with problems, or InvalidInput; nothing else."""

from __future__ import annotations

from pathlib import Path
from uuid import UUID

import pytest

from tests.unit.domxml.samples import FILES, UUID_TEXT, domain, sample
from vmferry.domxml.read import NIL_UUID, parse_vm
from vmferry.model.vm import Device, DiskKind, DomainState, Nic, Vm


def devices_of(vm: Vm, kind: str) -> list[Device]:
    return [device for device in vm.devices if device.kind == kind]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_captured_domain_is_read(path: Path) -> None:
    vm = parse_vm(path.read_bytes())
    assert vm.name
    assert all(disk.target for disk in vm.disks)


def test_a_running_vm_is_read_in_full() -> None:
    vm = parse_vm(sample("web1-live.xml"))
    assert (vm.name, str(vm.uuid), vm.domain_type, vm.title) == ("web1", UUID_TEXT, "kvm", "Shop & blog")
    assert (vm.memory_kib, vm.max_memory_kib, vm.vcpus, vm.max_vcpus) == (3145728, 4194304, 2, 4)
    assert (vm.arch, vm.machine, vm.cpu_mode) == ("x86_64", "pc-q35-7.2", "host-model")
    assert vm.firmware == "/usr/share/OVMF/OVMF_CODE_4M.fd"
    assert vm.nvram == "/var/lib/libvirt/qemu/nvram/web1_VARS.fd"
    assert [(disk.target, disk.kind, disk.source) for disk in vm.disks] == [
        ("vda", DiskKind.FILE, "/srv/images/web1 & co.qcow2"),
        ("vdb", DiskKind.BLOCK, "/dev/vg0/web1-data"),
        ("vdc", DiskKind.VOLUME, "fast/web1-log.raw"),
        ("vdd", DiskKind.NETWORK, "rbd://ceph1:6789/pool/web1"),
        ("sda", DiskKind.FILE, None),
    ]
    assert vm.disks[0].backing == ("/srv/images/base.qcow2",)
    assert [(nic.kind, nic.source) for nic in vm.nics] == [("bridge", "br0"), ("network", "default")]
    assert [device.kind for device in vm.devices] == ["tpm", "qemu:commandline"]
    assert vm.problems == ()


def test_what_libvirt_says_beside_the_xml_is_kept() -> None:
    vm = parse_vm(
        domain(),
        state=DomainState.PAUSED,
        state_reason="user",
        is_persistent=False,
        is_autostart=True,
        has_managed_save=True,
        snapshots=2,
        checkpoints=1,
        has_active_job=True,
    )
    assert (vm.state, vm.state_reason, vm.is_persistent) == (DomainState.PAUSED, "user", False)
    assert (vm.is_autostart, vm.has_managed_save, vm.snapshots) == (True, True, 2)
    assert (vm.checkpoints, vm.has_active_job) == (1, True)


def test_text_and_bytes_in_any_declared_encoding_are_the_same_vm() -> None:
    text = domain(before="<title>Bär</title>")
    declared = f"<?xml version='1.0' encoding='ISO-8859-1'?>\n{text}"
    forms: list[str | bytes] = [
        text,
        "\ufeff \n" + declared,
        text.encode(),
        b"\n " + declared.encode("latin-1"),
        b"\xef\xbb\xbf" + text.encode(),
        text.encode("utf-16"),
    ]
    assert {parse_vm(form).title for form in forms} == {"Bär"}


@pytest.mark.parametrize(
    ("unit", "kib"),
    [
        ("", 1000), (" unit='KiB'", 1000), (" unit='k'", 1000), (" unit='KB'", 977), (" unit='b'", 1),
        (" unit='bytes'", 1), (" unit='MB'", 976563), (" unit='M'", 1024000), (" unit='mib'", 1024000),
        (" unit='G'", 1048576000), (" unit='TiB'", 1073741824000), (" unit='PB'", 976562500000000),
    ],
)  # fmt: skip
def test_memory_units_are_those_of_virscaleinteger(unit: str, kib: int) -> None:
    vm = parse_vm(domain(memory=f"<memory{unit}>\n1000 </memory>"))
    assert (vm.memory_kib, vm.problems) == (kib, ())


@pytest.mark.parametrize(
    ("memory", "problem"),
    [
        ("<memory unit='parsec'>1</memory>", "unknown unit 'parsec'"),
        ("<memory unit='KiBiB'>1</memory>", "unknown unit 'KiBiB'"),
        ("<memory>lots</memory>", "no number"),
        ("<memory>-5</memory>", "no number"),
        ("<memory>1_000</memory>", "no number"),
        ("<memory unit='EiB'>99999</memory>", "larger than 64 bits"),
        ("<memory>0</memory>", "no <memory>"),
        ("<title>no size</title>", "no <memory>"),
    ],
)
def test_memory_that_cannot_be_understood_is_a_problem(memory: str, problem: str) -> None:
    vm = parse_vm(domain(memory=memory))
    assert not vm.is_readable
    assert problem in vm.problems[0]
    assert vm.memory_kib == 0


def test_maximum_memory_counts_hotplug_and_current_memory_the_balloon() -> None:
    sizes = "<maxMemory slots='16' unit='G'>8</maxMemory><memory unit='G'>4</memory>"
    vm = parse_vm(domain(memory=f"{sizes}<currentMemory unit='G'>2</currentMemory>"))
    assert (vm.memory_kib, vm.max_memory_kib) == (2 * 1024**2, 8 * 1024**2)


def test_numa_cells_give_the_size_when_nothing_else_does() -> None:
    cells = "<cpu><numa><cell memory='1' unit='G'/><cell memory='1024'/></numa></cpu>"
    assert parse_vm(domain(memory=cells)).memory_kib == 1024**2 + 1024


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ((f"<uuid>{UUID_TEXT}</uuid>", ""), "no <uuid>"),
        ((UUID_TEXT, "not-a-uuid"), "not a UUID"),
        (("<name>vm1</name>", "<name/>"), "no <name>"),
        (("type='kvm'", ""), "no type"),
        (("<devices>", "<vcpu>many</vcpu><devices>"), "<vcpu>"),
    ],
)
def test_a_missing_identity_is_a_problem_not_an_error(change: tuple[str, str], problem: str) -> None:
    vm = parse_vm(domain().replace(*change))
    assert len(vm.problems) == 1
    assert problem in vm.problems[0]


def test_a_domain_without_uuid_gets_the_nil_uuid_and_nothing_made_up() -> None:
    assert parse_vm(domain().replace(UUID_TEXT, "")).uuid == NIL_UUID == UUID(int=0)


def test_all_problems_are_told_at_once() -> None:
    assert len(parse_vm("<domain/>").problems) == 4


@pytest.mark.parametrize(
    ("disk", "problem"),
    [
        ("<disk type='telepathy'><target dev='vda'/></disk>", "unknown type 'telepathy'"),
        ("<disk type='file'><source file='/a'/></disk>", "no <target"),
        ("<disk type='file'><target dev='vda'/></disk>", "names no source"),
        ("<disk><source file='/a'/><target dev='a'/></disk>" * 2, "two disks"),
    ],
)
def test_a_disk_that_libvirt_would_refuse_is_a_problem(disk: str, problem: str) -> None:
    assert problem in parse_vm(domain(disk)).problems[0]


@pytest.mark.parametrize(
    ("file", "target", "kind", "source"),
    [
        ("disk-nvme", "vda", DiskKind.NVME, "0000:01:00.0/1"),
        ("disk-source-pool", "vda", DiskKind.VOLUME, "pool-disk/dir+vol1"),
        ("disk-vhostuser", "vda", DiskKind.VHOSTUSER, "/tmp/vhost1.sock"),
        ("disk-slices", "vda", DiskKind.FILE, "/var/lib/libvirt/images/raw.img"),
        ("disk-active-commit", "hda", DiskKind.FILE, "/tmp/HostVG/QEMUGuest1-snap"),
    ],
)
def test_every_disk_type_tells_its_place(file: str, target: str, kind: DiskKind, source: str) -> None:
    disk = next(d for d in parse_vm(sample(f"libvirt/{file}.xml")).disks if d.target == target)
    assert (disk.kind, disk.source) == (kind, source)


def test_a_backing_chain_is_listed_nearest_first() -> None:
    disks = {disk.target: disk for disk in parse_vm(sample("libvirt/backing-chains.xml")).disks}
    assert disks["vdb"].backing[:3] == ("/dev/HostVG/QEMUGuest1", "/tmp/image2.qcow", "/tmp/image3.qcow")


def test_an_external_data_file_counts_as_backing() -> None:
    data_file = "<dataStore type='file'><format type='raw'/><source file='/a.raw'/></dataStore>"
    disk = f"<disk type='file'><source file='/a.qcow2'>{data_file}</source><target dev='vda'/></disk>"
    assert parse_vm(domain(disk)).disks[0].backing == ("/a.raw",)


def test_disk_flags_are_read() -> None:
    rest = "<source file='/a'/><target dev='vda'/>"
    disks = parse_vm(
        domain(
            f"<disk device='cdrom'>{rest}</disk>"
            f"<disk>{rest.replace('vda', 'vdb')}<shareable/><transient/>"
            "<driver type='raw' cache='none'/></disk>"
        )
    ).disks
    assert disks[0].is_readonly
    assert (disks[1].is_shareable, disks[1].is_transient) == (True, True)
    assert (disks[1].driver, disks[1].cache, disks[1].is_readonly) == ("raw", "none", False)


@pytest.mark.parametrize(
    ("source", "nic"),
    [
        ("type='bridge'><source bridge='br0' network='lan'/>", ("bridge", "br0")),
        ("type='network'><source network='lan' bridge='virbr0'/>", ("network", "lan")),
        ("type='direct'><source dev='eth0' mode='bridge'/>", ("direct", "eth0")),
        ("type='vdpa'><source dev='/dev/vhost-vdpa-0'/>", ("vdpa", "/dev/vhost-vdpa-0")),
        ("type='vhostuser'><source type='unix' path='/run/v.sock'/>", ("vhostuser", "/run/v.sock")),
        ("type='mcast'><source address='230.0.0.1' port='5558'/>", ("mcast", "230.0.0.1:5558")),
        ("type='user'><source dev='eth0'/>", ("user", None)),
        ("type='ethernet'>", ("ethernet", None)),
        (">", ("user", None)),
    ],
)
def test_every_interface_type_tells_its_place(source: str, nic: tuple[str, str | None]) -> None:
    (read,) = parse_vm(domain(f"<interface {source}</interface>")).nics
    assert read == Nic(kind=nic[0], source=nic[1])


@pytest.mark.parametrize(
    ("xml", "pins"),
    [
        ("<numatune/>", ()),
        ("<numatune><memory mode='strict' placement='auto'/></numatune>", ()),
        ("<numatune><memory mode='strict' nodeset='0'/></numatune>", ("numatune",)),
        ("<numatune><memnode cellid='0' nodeset='0'/></numatune>", ("memnode",)),
        ("<vcpu placement='static' cpuset='0-3'>2</vcpu>", ("vcpu",)),
        ("<vcpu placement='auto'>2</vcpu>", ()),
        ("<cputune><shares>1</shares><iothreadpin iothread='1' cpuset='2'/></cputune>", ("iothreadpin",)),
        ("<cputune><vcpupin vcpu='0' cpuset='0-63'/><emulatorpin cpuset='1'/></cputune>",
         ("vcpupin", "emulatorpin")),
    ],
)  # fmt: skip
def test_only_elements_that_name_host_cpus_or_nodes_pin(xml: str, pins: tuple[str, ...]) -> None:
    assert parse_vm(domain(before=xml)).numa_pinned == pins


@pytest.mark.parametrize(
    ("os", "firmware", "nvram"),
    [
        ("<os firmware='efi'/>", "efi", None),
        ("<os firmware='efi'><nvram>/v.fd</nvram></os>", "efi", "/v.fd"),
        ("<os><loader>/c.fd</loader><nvram template='/t.fd'/></os>", "/c.fd", None),
        ("<os><loader>/c</loader><nvram type='file'><source file='/v.fd'/></nvram></os>", "/c", "/v.fd"),
        ("<os><nvram type='block'><source dev='/dev/vg/v'/></nvram></os>", None, "/dev/vg/v"),
        ("<os><nvram type='network'><source protocol='nbd' name='v'><host name='h'/></source></nvram></os>",
         None, None),
    ],
)  # fmt: skip
def test_firmware_and_nvram_are_found_in_every_form(os: str, firmware: str | None, nvram: str | None) -> None:
    vm = parse_vm(domain(before=os))
    assert (vm.firmware, vm.nvram) == (firmware, nvram)
    assert bool(devices_of(vm, "nvram")) == ("network" in os)


@pytest.mark.parametrize(
    ("file", "kind", "expected"),
    [
        ("net-hostdev", "hostdev", {"type": "pci", "address": "0000:03:07.1", "from": "interface"}),
        ("net-virtio-teaming", "hostdev", {"teaming": "transient", "from": "interface"}),
        ("disk-nvme", "hostdev", {"type": "pci", "from": "disk", "target": "vda"}),
        ("hostdev-mdev-src-address-invalid", "hostdev", {"type": "mdev", "model": "vfio-pci"}),
        ("hostdev-scsi-vhost-scsi-pci", "hostdev", {"type": "scsi_host"}),
        ("lxc-hostdev", "hostdev", {"mode": "capabilities", "type": "storage", "address": "/dev/sdf1"}),
        ("tpm-passthrough", "tpm", {"type": "passthrough", "path": "/dev/tpm0"}),
        ("tpm-external", "tpm", {"type": "external", "path": "/tmp/path.sock"}),
        ("tpm-emulator-tpm2-enc", "tpm", {"type": "emulator", "version": "2.0"}),
        ("shmem-plain-doorbell", "shmem", {"name": "shmem0", "model": "ivshmem-plain"}),
        ("memory-hotplug-nvdimm", "memory", {"model": "nvdimm", "path": "/tmp/nvdimm"}),
        ("memory-hotplug-virtio-mem", "memory", {"model": "virtio-mem"}),
        ("vhost-user-fs-fd-memory", "filesystem", {"driver": "virtiofs", "source": "/path"}),
        ("bhyvexml2argv-fs-9p-readonly", "filesystem", {"type": "mount", "source": "/shared/dir"}),
        ("vhost-vsock", "vsock", {"cid": "4"}),
        ("usb-redir", "redirdev", {"bus": "usb", "type": "tcp"}),
        ("input-linux", "input", {"type": "evdev", "path": "/dev/input/event1234"}),
        ("lease", "lease", {"path": "/some/lease/path"}),
        ("smartcard-host", "smartcard", {"mode": "host"}),
        ("serial-file-log", "serial", {"type": "file", "path": "/tmp/serial.log"}),
        ("chardev-tcp", "channel", {"type": "tcp", "address": "localhost:5678"}),
        ("disk-mirror", "mirror", {"target": "hda", "job": "copy", "ready": "yes"}),
        ("disk-mirror-old", "mirror", {"target": "hda", "path": "/dev/HostVG/QEMUGuest1Copy"}),
        ("cpu-tsc-frequency", "feature", {"name": "invtsc", "tsc_frequency": "4567890000"}),
        ("qemu-ns-alt", "qemu:commandline", {"arguments": "-unknown parameter NS=ns BAR="}),
        ("graphics-egl-headless", "graphics", {"type": "egl-headless"}),
        ("disk-vhostuser", "memoryBacking", {"source": "memfd", "access": "shared"}),
    ],
)  # fmt: skip
def test_devices_carry_what_rules_ask_for(file: str, kind: str, expected: dict[str, str]) -> None:
    found = devices_of(parse_vm(sample(f"libvirt/{file}.xml")), kind)
    assert any(expected.items() <= device.attributes.items() for device in found), found


RAW = """<domain type='kvm' xmlns:q='http://libvirt.org/schemas/domain/qemu/1.0'><name>a</name>
<uuid>2a6c1a1e-3f0b-4c34-9d0c-3f6d3c1f9a01</uuid><memory>1024</memory><os><type>hvm</type></os><q:commandline>
<q:arg value='-s'/><q:env name='A' value='b'/></q:commandline><q:capabilities><q:add capability='x'/>
<q:del capability='y'/></q:capabilities><q:deprecation behavior='reject'/><q:override><q:device alias='ua-d'>
<q:frontend><q:property name='share-rw' type='bool' value='true'/></q:frontend></q:device></q:override></domain>"""


def test_whatever_is_for_qemu_past_libvirt_is_told() -> None:
    assert {device.kind: device.attributes["arguments"] for device in parse_vm(RAW).devices} == {
        "qemu:commandline": "-s A=b",
        "qemu:override": "ua-d.share-rw=true",
        "qemu:capabilities": "add x del y",
        "qemu:deprecation": "deprecated features: reject",
    }


def test_an_interface_driven_by_vfio_is_a_passed_through_device() -> None:
    vm = parse_vm(domain("<interface type='network'><source network='sriov'/><driver name='vfio'/></interface>"))
    assert [device.attributes["from"] for device in devices_of(vm, "hostdev")] == ["interface"]


def test_what_travels_with_the_guest_is_no_device() -> None:
    assert parse_vm(sample("test-default.xml")).devices == ()


def test_launch_security_and_hugepages_are_read() -> None:
    assert parse_vm(sample("libvirt/launch-security-sev.xml")).launch_security == "sev"
    assert parse_vm(sample("libvirt/hugepages-memaccess.xml")).hugepages


def test_metadata_of_applications_is_not_mistaken_for_the_vm() -> None:
    note = "<metadata><x:a xmlns:x='urn:x'><x:name>no</x:name><name>no</name><disk/></x:a></metadata>"
    vm = parse_vm(domain(before=note))
    assert (vm.name, vm.disks, vm.problems) == ("vm1", (), ())


def test_a_comment_inside_a_text_does_not_cut_it() -> None:
    assert parse_vm(domain(before="<title>a<!-- x -->b</title>")).title == "ab"
