"""The guest CPU, its TSC, and hosts that can or cannot run them, on captured domains' XML."""

from __future__ import annotations

import pytest

from tests.unit.domxml.samples import sample
from tests.unit.rules.cases.cpu import (
    EPYC,
    INCOMPATIBLE,
    SKYLAKE,
    SUPERSET,
    UNKNOWN_FEATURE,
    UNKNOWN_MODEL,
    UNSUPPORTED,
    judged,
)
from tests.unit.rules.cases.making import make
from vmferry.domxml.read import parse_vm
from vmferry.model.facts import CpuFit, CpuVerdict, HostCpu
from vmferry.model.findings import Finding, Severity
from vmferry.model.host import Machine
from vmferry.model.vm import DomainState, Vm
from vmferry.rules import cpu
from vmferry.rules.case import Case
from vmferry.rules.check import check_move
from vmferry.rules.cpu import guest_cpu

OFF = {"state": DomainState.SHUTOFF, "state_reason": "shutdown"}
HOST_CPU = "<cpu mode='custom' match='exact' check='full'>"


def running(name: str = "agent1-live.xml") -> Vm:
    """A captured domain; agent1 runs with a Haswell CPU that libvirt has expanded."""
    return parse_vm(sample(name), state=DomainState.RUNNING)


def with_mode(mode: str) -> Vm:
    """agent1 with a CPU that is its host's own."""
    start, _, rest = sample("agent1-live.xml").partition(HOST_CPU)
    _, _, end = rest.partition("</cpu>")
    assert end
    return parse_vm(f"{start}<cpu mode='{mode}' check='none' migratable='on'/>{end}", state=DomainState.RUNNING)


def found(case: Case) -> dict[str, Finding]:
    """What the rules on CPUs find; no rule finds two things here."""
    ids = {rule.id for rule in cpu.RULES}
    findings = [f for f in check_move(case).findings if f.rule in ids]
    assert len({f.rule for f in findings}) == len(findings)
    return {f.rule: f for f in findings}


@pytest.mark.parametrize("fit", [CpuFit.IDENTICAL, CpuFit.SUPERSET])
def test_a_cpu_that_the_destination_can_run_is_no_finding(fit: CpuFit) -> None:
    assert found(judged(CpuVerdict(fit=fit), running())) == {}


@pytest.mark.parametrize("verdict", [INCOMPATIBLE, UNKNOWN_MODEL, UNKNOWN_FEATURE])
def test_a_cpu_that_the_destination_cannot_run_blocks_with_libvirts_words_and_the_way_out(verdict: CpuVerdict) -> None:
    ((rule, finding),) = found(judged(verdict, running())).items()
    assert (rule, finding.severity) == ("cpu-incompatible", Severity.BLOCK)
    assert finding.message.startswith(f"vm agent1: dest-example cannot run its CPU ({verdict.detail}); choose another")
    assert "virsh -c qemu+ssh://source-example/system hypervisor-cpu-baseline FILE --migratable" in finding.message


def test_a_shut_off_vm_may_move_and_is_told_that_it_will_not_start() -> None:
    vm = parse_vm(sample("agent1-live.xml"), state=DomainState.SHUTOFF, state_reason="shutdown")
    ((rule, finding),) = found(judged(INCOMPATIBLE, vm)).items()
    assert (rule, finding.severity) == ("cpu-incompatible", Severity.WARN)
    assert "it could not be started there" in finding.message


def test_a_comparison_that_failed_is_told_with_its_reason_and_blocks_nothing() -> None:
    ((rule, finding),) = found(judged(UNSUPPORTED, running())).items()
    assert (rule, finding.severity) == ("cpu-not-compared", Severity.WARN)
    assert f"unknown ({UNSUPPORTED.detail})" in finding.message
    assert "virsh -c qemu+ssh://dest-example/system hypervisor-cpu-compare FILE --error" in finding.message


def test_a_verdict_on_another_cpu_is_not_taken_for_this_one() -> None:
    case = judged(SUPERSET, running())
    haswell = sample("agent1-live.xml").replace(">Haswell<", ">Skylake-Server<")
    other = parse_vm(haswell, state=DomainState.RUNNING)
    assert list(found(make(other, pair=case.pair))) == ["cpu-not-compared"]


def test_a_vm_whose_cpu_libvirt_chooses_has_nothing_to_compare() -> None:
    vm = running("libvirt/firmware-auto-efi-nvram.xml")
    assert vm.cpu_xml is None
    assert found(judged(None, vm)) == {}


@pytest.mark.parametrize("mode", ["host-passthrough", "maximum"])
@pytest.mark.parametrize(
    ("source", "dest", "rules"),
    [
        (SKYLAKE, EPYC, {"cpu-host-differs", "cpu-host-passthrough"}),
        (SKYLAKE, SKYLAKE, {"cpu-host-passthrough"}),
        (SKYLAKE, None, {"cpu-host-passthrough"}),
        (HostCpu(), EPYC, {"cpu-host-passthrough"}),
    ],
)
def test_the_hosts_own_cpu_needs_the_same_host(
    mode: str, source: HostCpu | None, dest: HostCpu | None, rules: set[str]
) -> None:
    vm = with_mode(mode).model_copy(update={"domain_type": "kvm"})
    # libvirt 9.0 answers "superset" to such a CPU on any host.
    findings = found(judged(SUPERSET, vm, source={"cpu": source}, dest={"cpu": dest}))
    assert set(findings) == rules
    assert findings["cpu-host-passthrough"].severity is Severity.WARN
    if "cpu-host-differs" in rules:
        assert findings["cpu-host-differs"].severity is Severity.BLOCK
        expected = f"CPU mode {mode}; source-example has Skylake-Client-IBRS Intel, dest-example has EPYC-Rome AMD"
        assert expected in findings["cpu-host-differs"].message


def test_a_host_model_that_was_not_expanded_is_not_believed() -> None:
    assert list(found(judged(SUPERSET, with_mode("host-model")))) == ["cpu-not-compared"]


@pytest.mark.parametrize(
    ("host", "is_found"),
    [
        (HostCpu(model="EPYC", tsc_hz=4_567_890_000), False),
        (HostCpu(model="EPYC", tsc_hz=4_566_750_000), False),  # 249 ppm off
        (HostCpu(model="EPYC", tsc_hz=4_566_700_000), True),  # 261 ppm off
        (HostCpu(model="EPYC", tsc_hz=4_566_700_000, has_tsc_scaling=True), False),
        (HostCpu(model="EPYC"), False),
        (None, False),
    ],
)
def test_a_promised_tsc_frequency_must_be_there_or_be_scaled(host: HostCpu | None, is_found: bool) -> None:
    vm = running("libvirt/cpu-tsc-frequency.xml")
    findings = found(judged(SUPERSET, vm.model_copy(update={"cpu_mode": "custom"}), dest={"cpu": host}))
    assert set(findings) == ({"tsc-frequency"} if is_found else set())
    if is_found:
        assert findings["tsc-frequency"].severity is Severity.BLOCK
        assert (
            "was promised a TSC of 4567890000 Hz; dest-example has 4566700000 Hz" in findings["tsc-frequency"].message
        )


def test_a_fixed_tsc_counts_without_invtsc_too() -> None:
    feature = "<feature policy='require' name='invtsc'/>"
    xml = sample("libvirt/cpu-tsc-frequency.xml")
    assert feature in xml
    vm = parse_vm(xml.replace(feature, ""), **OFF)
    findings = found(make(vm, dest={"cpu": SKYLAKE}))
    assert {rule: f.severity for rule, f in findings.items()} == {"tsc-frequency": Severity.WARN}


def test_an_invariant_tsc_without_a_frequency_is_another_rules() -> None:
    xml = sample("libvirt/cpu-tsc-frequency.xml").replace("<timer name='tsc' frequency='4567890000'/>", "")
    report = check_move(make(parse_vm(xml, state=DomainState.RUNNING), dest={"cpu": SKYLAKE}))
    rules = {f.rule for f in report.blockers}
    assert "invariant-tsc" in rules
    assert "tsc-frequency" not in rules


def test_the_question_to_a_host_names_the_canonical_machine_of_the_source() -> None:
    facts = make(dest={}).source.facts
    asked = guest_cpu(running().model_copy(update={"machine": "q35"}), facts)
    assert asked is not None
    assert (asked.machine, asked.arch, asked.domain_type) == ("pc-q35-7.2", "x86_64", "qemu")
    other = facts.model_copy(update={"machines": (Machine(name="q35", canonical="pc-q35-8.0"),)})
    assert guest_cpu(running().model_copy(update={"machine": "q35"}), other) != asked
    assert guest_cpu(running("libvirt/firmware-auto-efi-nvram.xml"), facts) is None
