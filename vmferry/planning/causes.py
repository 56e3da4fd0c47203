"""Why a move failed, and what need not be tried again because of that in the same run. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from vmferry.model.evacuation import Move
from vmferry.model.migration import MigrationOutcome, OutcomeKind
from vmferry.model.operation import Cause, Place
from vmferry.planning.gate import Ended

_LONGEST = 200  # characters of a cause: enough to tell causes apart
# Two VMs that could not move to a host for reasons that nobody can place: it is the host.
_ODD_FAILURES = 2

# What is said when somebody wanted a move to end: vmferry.stopping.
_ASKED = re.compile(r"cancelled by |the window (ends|is over)|ended by its operation", re.I)
# What is said of a machine, or of the way to it, whichever VM asks. libvirt's and ssh's own words.
_AWAY = re.compile(
    r"unreachable|did not answer|no answer|no route to host|connection (refused|reset|timed out|closed|to .* lost)"
    r"|cannot be opened|unable to connect|broken pipe|keepalive|end of file while reading|cannot recv data"
    r"|name or service not known|network is (down|unreachable)|connection was lost|tls handshake|certificate",
    re.I,
)
_FULL = re.compile(
    r"cannot allocate memory|not enough (free )?memory|cannot set up guest memory|no space left|was cordoned meanwhile"
    r"|unable to find any emulator|cannot access storage|port .* (in use|exhausted)",
    re.I,
)
_OF_VM = re.compile(
    r"changed since preflight|did not converge|does not converge|deadline|exists on .* not (over|written)|"
    r"not written over|holds it since|another run|has it in run",
    re.I,
)
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.I)
_RUN = re.compile(r"\d{8}-\d{6}-[0-9a-f]{8}")
_PATH = re.compile(r"(?<![\w/])/[\w@.+-]+(/[\w@.+-]*)*")
_NUMBER = re.compile(r"\d+(\.\d+)?")


def cause_of(reason: str, vm: str, source: str, dest: str) -> Cause:
    """Return the cause that a failed move's reason tells, free of what differs from VM to VM."""
    return Cause(place=_place(reason, source, dest), text=_common(reason, vm))


def _place(reason: str, source: str, dest: str) -> Place:
    if _ASKED.search(reason):
        return Place.ASKED
    if _OF_VM.search(reason):
        return Place.VM
    if _FULL.search(reason):
        return Place.DEST
    if not _AWAY.search(reason):
        return Place.UNKNOWN
    named = [host for host in (source, dest) if re.search(rf"\b{re.escape(host)}\b", reason)]
    if named == [dest]:
        return Place.DEST
    return Place.SOURCE if named == [source] else Place.LINK


def _common(reason: str, vm: str) -> str:
    text = re.sub(rf"(vm )?(?<![\w-]){re.escape(vm)}(?![\w-]):? ?", "", reason)
    for pattern, word in ((_UUID, "UUID"), (_RUN, "RUN"), (_PATH, "PATH")):
        text = pattern.sub(word, text)
    # A number at the end of a word is part of a name: kvm2.
    text = re.sub(rf"(?<![\w.]){_NUMBER.pattern}(?!\w)", "N", text)
    text = " ".join(text.split())
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"


def ended_move(move: Move, outcome: MigrationOutcome) -> Ended:
    """Return what the gate is told of a move that is over."""
    is_good = outcome.kind is OutcomeKind.MOVED and not outcome.silent
    reason = outcome.reason or "the guest does not answer after its move: " + "; ".join(outcome.silent)
    return Ended(
        vm=move.vm,
        uuid=move.uuid,
        source=move.source,
        dest=move.dest,
        started_at=outcome.started_at,
        ended_at=outcome.ended_at,
        downtime_ms=outcome.downtime_ms,
        is_there=outcome.kind is OutcomeKind.MOVED,
        cause=None if is_good else cause_of(reason, move.vm, move.source, move.dest),
    )


def with_objective(outcome: MigrationOutcome, limit_ms: int | None) -> MigrationOutcome:
    """Return the outcome with the VM's downtime objective, and with a note where it was not held."""
    told = outcome.model_copy(update={"max_downtime_ms": limit_ms})
    if not told.is_downtime_above:
        return told
    return told.model_copy(update={"notes": (*outcome.notes, above_objective(told))})


def above_objective(outcome: MigrationOutcome) -> str:
    """Return that a VM stood still for longer than it may, with both numbers."""
    return f"stood still for {outcome.downtime_ms} ms, more than its downtime objective of {outcome.max_downtime_ms} ms"


@dataclass(frozen=True)
class Avoided:
    """Where this run sends nothing any more, each with the reason."""

    dests: dict[str, str]
    links: dict[tuple[str, str], str]  # (source, dest)
    vms: dict[tuple[str, str], str]  # (VM's UUID, dest): where this VM has failed already

    def why_not(self, uuid: str, source: str, dest: str) -> str:
        """Return why this VM is not sent there; empty where nothing speaks against it."""
        return self.dests.get(dest) or self.links.get((source, dest)) or self.vms.get((uuid, dest)) or ""


NOWHERE = Avoided({}, {}, {})


def avoided(ended: Iterable[Ended]) -> Avoided:
    """Return what failed so far and is not tried again."""
    dests: dict[str, str] = {}
    links: dict[tuple[str, str], str] = {}
    vms: dict[tuple[str, str], str] = {}
    odd: dict[str, list[Ended]] = {}
    for one in ended:
        if one.cause is None or not one.is_failure:
            continue
        why = f"{one.vm} failed there in this run: {one.cause.text}"
        vms.setdefault((one.uuid, one.dest), why)
        match one.cause.place:
            case Place.DEST:
                dests.setdefault(one.dest, f"{one.dest} is avoided: {why}")
            case Place.LINK:
                links.setdefault((one.source, one.dest), f"{one.source} → {one.dest} is avoided: {why}")
            case Place.UNKNOWN:
                odd.setdefault(one.dest, []).append(one)
    for dest, failures in odd.items():
        if len(vms_of(failures)) >= _ODD_FAILURES:
            names = ", ".join(vms_of(failures))
            dests.setdefault(dest, f"{dest} is avoided: {names} failed there in this run")
    return Avoided(dests, links, vms)


def vms_of(ended: Sequence[Ended]) -> tuple[str, ...]:
    """Return the names of the VMs, each once, in order."""
    return tuple(dict.fromkeys(one.vm for one in ended))


def is_worth_another_try(cause: Cause | None) -> bool:
    """Whether another destination may help: not where the VM itself, or its host, is what failed."""
    return cause is not None and cause.place in (Place.DEST, Place.LINK, Place.UNKNOWN)
