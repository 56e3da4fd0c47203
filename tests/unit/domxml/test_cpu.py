"""The CPU of a domain: how many, one text for one CPU, and what it needs of the host."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.unit.domxml.samples import FILES, domain, sample
from vmferry.domxml.read import parse_vm
from vmferry.model.vm import Device, Vm


def cpu_of(cpu: str) -> str | None:
    return parse_vm(domain(before=cpu)).cpu_xml


def needs_of(vm: Vm, *kinds: str) -> list[Device]:
    return [device for device in vm.devices if device.kind in kinds]


def test_the_cpu_of_a_running_vm_is_kept_with_every_feature_that_it_has_or_lacks() -> None:
    assert parse_vm(sample("agent1-live.xml")).cpu_xml == (
        '<cpu check="full" match="exact" mode="custom">'
        '<feature name="abm" policy="require"/><feature name="arat" policy="require"/>'
        '<feature name="f16c" policy="require"/><feature name="hle" policy="disable"/>'
        '<feature name="hypervisor" policy="require"/><feature name="invpcid" policy="disable"/>'
        '<feature name="pcid" policy="disable"/><feature name="rdrand" policy="require"/>'
        '<feature name="rtm" policy="disable"/><feature name="tsc-deadline" policy="disable"/>'
        '<feature name="x2apic" policy="disable"/><feature name="xsaveopt" policy="require"/>'
        '<model fallback="forbid">Haswell</model></cpu>'
    )


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_cpu_read_again_is_the_same_text(path: Path) -> None:
    cpu = parse_vm(path.read_bytes()).cpu_xml
    assert cpu is None or cpu_of(cpu) == cpu


def test_equal_cpus_of_different_vms_are_equal_texts() -> None:
    features = [f"<feature policy='require' name='{name}'/>" for name in ("vme", "ss", "pcid", "avx2")]
    random.Random(3).shuffle(features)
    first = f"<cpu mode='custom' match='exact'><model>EPYC</model><vendor>AMD</vendor>{''.join(features)}</cpu>"
    second = (
        "<cpu match='exact' mode=\"custom\">\n  <!-- as ordered -->\n  <vendor> AMD </vendor>"
        + "\n  <model>EPYC</model>\n  "
        + "\n  ".join(sorted(features))
        + "<topology sockets='2' cores='4' threads='1'/><numa><cell id='0' cpus='0-7' memory='1024'/></numa>"
        + "<x:note xmlns:x='urn:x'>ours</x:note></cpu>"
    )
    assert cpu_of(first) == cpu_of(second)


@pytest.mark.parametrize(
    "other",
    [
        "<cpu mode='custom'><model>Nehalem</model><feature name='ss'/></cpu>",
        "<cpu mode='custom'><model>EPYC</model><feature name='ss' policy='disable'/></cpu>",
        "<cpu mode='custom'><model>EPYC</model><feature name='sse2'/></cpu>",
        "<cpu mode='custom'><model>EPYC</model></cpu>",
        "<cpu mode='custom'><model>EPYC</model><vendor>AMD</vendor><feature name='ss'/></cpu>",
        "<cpu mode='custom' match='strict'><model>EPYC</model><feature name='ss'/></cpu>",
        "<cpu mode='host-model'><model>EPYC</model><feature name='ss'/></cpu>",
    ],
)
def test_different_cpus_are_different_texts(other: str) -> None:
    assert cpu_of(other) != cpu_of("<cpu mode='custom'><model>EPYC</model><feature name='ss'/></cpu>")


@pytest.mark.parametrize(
    "cpu", ["", "<cpu/>", "<cpu><topology sockets='1' cores='2' threads='1'/></cpu>", "<cpu><model> </model></cpu>"]
)
def test_a_cpu_that_libvirt_chooses_is_none(cpu: str) -> None:
    assert cpu_of(cpu) is None


@pytest.mark.parametrize("mode", ["host-passthrough", "host-model", "maximum"])
def test_a_cpu_without_a_model_is_told_by_its_mode(mode: str) -> None:
    assert cpu_of(f"<cpu mode='{mode}'/>") == f'<cpu mode="{mode}"/>'


@pytest.mark.parametrize(
    ("vcpu", "now", "most"),
    [
        ("<vcpu current='2'>4</vcpu>", 2, 4),
        ("<vcpu placement='static'>4</vcpu>", 4, 0),
        ("<vcpu current='4'>4</vcpu>", 4, 0),
        ("<vcpu/>", 1, 0),
        ("", 1, 0),
    ],
)
def test_cpus_that_may_be_plugged_in_are_told_apart_from_those_there_are(vcpu: str, now: int, most: int) -> None:
    vm = parse_vm(domain(before=vcpu))
    assert (vm.vcpus, vm.max_vcpus) == (now, most)


def test_a_fixed_tsc_frequency_is_a_need_of_the_host_with_and_without_invtsc() -> None:
    both = parse_vm(sample("libvirt/cpu-tsc-frequency.xml"))
    assert [(d.kind, d.attributes) for d in needs_of(both, "feature", "timer")] == [
        ("feature", {"name": "invtsc", "policy": "require", "tsc_frequency": "4567890000"}),
        ("timer", {"name": "tsc", "frequency": "4567890000"}),
    ]
    alone = parse_vm(domain(before="<clock><timer name='tsc' frequency='2445426000'/></clock>"))
    assert [d.attributes["frequency"] for d in needs_of(alone, "feature", "timer")] == ["2445426000"]


@pytest.mark.parametrize("timer", ["<timer name='tsc'/>", "<timer name='tsc' frequency='0'/>", "<timer name='pit'/>"])
def test_a_timer_without_a_fixed_frequency_needs_nothing(timer: str) -> None:
    assert parse_vm(domain(before=f"<clock>{timer}</clock>")).devices == ()
