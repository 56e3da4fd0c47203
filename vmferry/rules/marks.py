"""Rules about what other vmferrys have in hand: marks in the domain's XML."""

from __future__ import annotations

from collections.abc import Iterator

from vmferry.domxml.marks import mark_uri
from vmferry.model.findings import Severity
from vmferry.model.mark import VmMark
from vmferry.rules.case import Case
from vmferry.rules.rule import Rule, Scope, always

STALE = "stale-mark"
_SOURCE = "decision 0020; failure modes 5, 47, 58"


def told(mark: VmMark) -> str:
    """Return the message about a mark that counts: who has it, and what to do."""
    return (
        f"{mark.words()}; wait for its end, or ask there: `vmferry runs` shows it, and `vmferry recover` settles it "
        "when its process is dead"
    )


def marked(case: Case) -> Iterator[str]:
    """No run of another vmferry has the VM in work: its mark has not ended, or a migration job still runs."""
    for mark in _foreign(case):
        if not mark.is_stale(case.source.facts.read_at):
            yield f"vm {case.vm.name}: {told(mark)}"
        elif case.vm.has_active_job:
            yield (
                f"vm {case.vm.name}: {mark.words()}, which is over, but a job runs on the VM: it is watched, not "
                f"touched; follow it with `virsh -c {case.source.host.uri} domjobinfo {case.vm.name}`"
            )


def stale_mark(case: Case) -> Iterator[str]:
    """No mark was left behind by a run of another vmferry that is over."""
    for mark in _foreign(case):
        if mark.is_stale(case.source.facts.read_at) and not case.vm.has_active_job:
            yield (
                f"vm {case.vm.name}: {mark.words()}, which is over: its owner died or cannot reach the host; run "
                f"`vmferry recover` there; if that vmferry is gone, look on {mark.source} and {mark.dest} (`virsh "
                f"domstate --reason {case.vm.name}`), then repeat this with `--lift {STALE}`, or take the mark away: "
                f"`virsh -c {case.source.host.uri} metadata {case.vm.name} --uri {mark_uri(mark.run)} --remove "
                f"{'--live ' if case.vm.is_active else ''}{'--config' if case.vm.is_persistent else ''}`"
            )


def _foreign(case: Case) -> Iterator[VmMark]:
    """Yield the marks of runs that our journal does not know to be open: `already-moving` tells of those."""
    return (mark for mark in case.vm.marks if mark.run != case.open_run)


RULES: tuple[Rule, ...] = (
    Rule("vm-marked", marked, always(Severity.BLOCK), _SOURCE, scope=Scope.VM, is_final=True),
    Rule(STALE, stale_mark, always(Severity.BLOCK), _SOURCE, scope=Scope.VM),
)
