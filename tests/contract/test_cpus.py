"""Guest CPUs on real libvirt: what the live XML says, what hosts answer, and that the answer is true of a move.

QEMU's emulated CPU (domain type qemu) lacks features that real models have, and adds others: with check='none' a VM
starts all the same, and its live XML tells what it got.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import libvirt
import pytest

from infra.lab import GuestSpec, GuestState, Lab
from infra.lab.conditions import unknown_cpu_model
from infra.lab.guest import domain_xml
from tests.contract.contract_fleet import DEST, SOURCE
from vmferry.adapters.libvirt_calls import open_connection
from vmferry.adapters.world import open_world
from vmferry.domxml.read import parse_vm
from vmferry.inventory.load import load_inventory
from vmferry.model.facts import CpuFit, CpuVerdict, GuestCpu
from vmferry.model.vm import Vm
from vmferry.ports import Hypervisor, World
from vmferry.rules.cpu import guest_cpu
from vmferry.settings import Settings

pytestmark = pytest.mark.lab

MODEL = "Haswell"
MISSING = ("pcid", "x2apic", "tsc-deadline", "hle", "invpcid", "rtm")  # of Haswell, under QEMU 7.2 without KVM


@pytest.fixture
def lab(_lab: object) -> Lab:
    assert isinstance(_lab, Lab)
    return _lab


@pytest.fixture
def world(lab: Lab, tmp_path: Path) -> Iterator[World]:
    opened = open_world(load_inventory(lab.inventory_path), Settings(state_dir=tmp_path, connect_timeout_s=5))
    yield opened
    opened.close()


@pytest.fixture
def dest(world: World) -> Hypervisor:
    return world.hypervisor(DEST)


@pytest.fixture
def make(lab: Lab) -> Iterator[Callable[[GuestSpec], None]]:
    """Add guests; they are removed at the end."""
    before = set(lab.guests)
    yield lab.add_guest
    for name in set(lab.guests) - before:
        lab.remove_guest(name)


def ask(dest: Hypervisor, xml: str, **fields: str | None) -> CpuVerdict:
    given = {"arch": "x86_64", "machine": "pc-i440fx-7.2", "domain_type": "qemu"} | fields
    cpu = GuestCpu.model_validate({"xml": xml, **given})
    return dest.compare_cpus([cpu])[cpu.key]


def vm_of(world: World, name: str) -> Vm:
    vm = world.hypervisor(SOURCE).read_host().find_vm(name)
    assert vm is not None
    return vm


def compared(world: World, vm: Vm) -> CpuVerdict:
    cpu = guest_cpu(vm, world.hypervisor(SOURCE).read_host())
    assert cpu is not None
    return world.hypervisor(DEST).compare_cpus([cpu])[cpu.key]


def test_the_live_cpu_names_what_the_guest_did_not_get_and_the_move_that_is_promised_succeeds(
    lab: Lab, world: World, make: Callable[[GuestSpec], None]
) -> None:
    make(GuestSpec(name="cpu-live", host=SOURCE, cpu=MODEL))
    vm = vm_of(world, "cpu-live")
    assert vm.cpu_mode == "custom"
    for name in MISSING:
        assert f'<feature name="{name}" policy="disable"/>' in (vm.cpu_xml or "")
    assert compared(world, vm).fit is CpuFit.SUPERSET
    target = lab.hosts[DEST]
    lab.hosts[SOURCE].virsh(
        *("migrate", "--live", "--p2p", "cpu-live", target.peer_uri, "--migrateuri", f"tcp://{target.address}")
    )
    assert lab.running_on("cpu-live") == DEST


def test_the_migratable_xml_would_have_called_that_move_impossible(
    lab: Lab, world: World, make: Callable[[GuestSpec], None], dest: Hypervisor
) -> None:
    make(GuestSpec(name="cpu-asked", host=SOURCE, cpu=MODEL))
    asked = parse_vm(lab.hosts[SOURCE].virsh("dumpxml", "--migratable", "cpu-asked"))
    verdict = compared(world, asked)
    assert verdict.fit is CpuFit.INCOMPATIBLE
    assert verdict.detail == f"Host CPU does not provide required features: {', '.join(MISSING)}"


def test_the_cpu_of_a_shut_off_vm_is_that_of_its_definition(
    world: World, lab: Lab, make: Callable[[GuestSpec], None]
) -> None:
    make(GuestSpec(name="cpu-off", host=SOURCE, cpu=MODEL, state=GuestState.SHUTOFF))
    vm = vm_of(world, "cpu-off")
    assert vm.cpu_xml == (
        f'<cpu check="none" match="exact" mode="custom"><model fallback="forbid">{MODEL}</model></cpu>'
    )


def test_a_running_host_model_is_expanded_and_runs_on_a_host_of_the_same_kind(lab: Lab, world: World) -> None:
    xml = domain_xml(GuestSpec(name="cpu-host-model"), kvm=lab.kvm)
    lab.hosts[SOURCE].virsh(
        "create", "/dev/stdin", input=xml.replace("<features>", "<cpu mode='host-model'/><features>")
    )
    try:
        vm = vm_of(world, "cpu-host-model")
        assert (vm.cpu_mode, "<model" in (vm.cpu_xml or "")) == ("custom", True)
        assert compared(world, vm).fit in (CpuFit.IDENTICAL, CpuFit.SUPERSET)
    finally:
        lab.hosts[SOURCE].virsh("destroy", "cpu-host-model")


@pytest.mark.parametrize(
    ("cpu", "detail"),
    [
        ("<model>qemu64</model><feature policy='require' name='avx512f'/>", "required features: avx512f"),
        ("<model>qemu64</model><feature policy='forbid' name='sse2'/>", "forbidden features: sse2"),
        ("<model>qemu64</model><vendor>Intel</vendor>", "CPU vendor Intel"),
    ],
)
def test_an_incompatible_cpu_is_told_with_what_is_in_the_way(dest: Hypervisor, cpu: str, detail: str) -> None:
    verdict = ask(dest, f"<cpu mode='custom' match='exact'>{cpu}</cpu>")
    assert verdict.fit is CpuFit.INCOMPATIBLE
    assert detail in verdict.detail
    assert not verdict.detail.startswith("the CPU is incompatible")


@pytest.mark.parametrize(
    ("xml", "fields", "detail"),
    [
        ("<cpu><model>Turboencabulator</model></cpu>", {}, "Unknown CPU model Turboencabulator"),
        ("<cpu><model>qemu64</model><feature name='warp'/></cpu>", {}, "Unknown CPU feature warp"),
        ("rubbish", {}, "Start tag expected"),
        ("", {}, "Document is empty"),
        ("<domain/>", {}, "expected 'cpu' element"),
        ("<cpu mode='warp'/>", {}, "Invalid mode attribute 'warp'"),
        ("<cpu><model>qemu64</model></cpu>", {"machine": "pc-q35-99.9"}, "'pc-q35-99.9' is not supported"),
        ("<cpu><model>qemu64</model></cpu>", {"arch": "weird", "machine": None}, "unknown architecture"),
        ("<cpu mode='host-passthrough' check='none'/>", {}, "mode host-passthrough"),
        ("<cpu mode='maximum'/>", {}, "mode maximum"),
    ],
)
def test_a_cpu_that_cannot_be_compared_fails_alone_with_libvirts_words(
    dest: Hypervisor, xml: str, fields: dict[str, str | None], detail: str
) -> None:
    verdict = ask(dest, xml, **fields)
    assert verdict.fit is CpuFit.FAILED
    assert detail in verdict.detail


def test_libvirt_calls_every_host_good_enough_for_a_cpu_that_is_the_hosts_own(world: World) -> None:
    """Why such a CPU is never believed: when this fails, libvirt has learnt it, and libvirt_cpus.py may ask."""
    entry = world.inventory.find(DEST)
    assert entry is not None
    connection = open_connection(entry.uri, DEST, Settings())
    try:
        for mode in ("host-passthrough", "maximum"):
            answer = connection.compareHypervisorCPU(None, "x86_64", None, "qemu", f"<cpu mode='{mode}'/>", 0)
            assert answer == libvirt.VIR_CPU_COMPARE_SUPERSET
    finally:
        connection.close()


def test_features_that_a_hosts_own_cpu_names_besides_are_compared(dest: Hypervisor) -> None:
    xml = "<cpu mode='host-passthrough'><feature policy='require' name='avx512f'/></cpu>"
    assert ask(dest, xml).fit is CpuFit.INCOMPATIBLE


def test_one_cpu_that_fails_hides_no_other(dest: Hypervisor) -> None:
    xmls = "rubbish", "<cpu><model>qemu64</model></cpu>", f"<cpu><model>{MODEL}</model></cpu>"
    cpus = [GuestCpu(xml=xml, arch="x86_64", machine=None, domain_type="qemu") for xml in xmls]
    verdicts = dest.compare_cpus(cpus)
    assert [verdicts[cpu.key].fit for cpu in cpus] == [CpuFit.FAILED, CpuFit.SUPERSET, CpuFit.INCOMPATIBLE]


def test_a_model_that_the_destinations_libvirt_does_not_know_is_named(lab: Lab, world: World, dest: Hypervisor) -> None:
    with unknown_cpu_model(lab.hosts[DEST], "Nehalem"):
        verdict = ask(dest, "<cpu><model>Nehalem</model></cpu>")
    assert (verdict.fit, verdict.detail) == (CpuFit.FAILED, "internal error: Unknown CPU model Nehalem")
    assert ask(dest, "<cpu><model>Nehalem</model></cpu>").fit is CpuFit.SUPERSET
