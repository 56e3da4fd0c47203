"""The audit: who could go where, what a host's loss would cost, what lies about, what changed since the last one."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from pydantic import Field

from vmferry.model.base import Model
from vmferry.model.evacuation import Stranded
from vmferry.model.facts import StoredFile
from vmferry.model.findings import Finding
from vmferry.model.host import Unreachable
from vmferry.model.migration import MigrationMode
from vmferry.model.vm import DomainState


class Verdict(StrEnum):
    """One cell of the matrix."""

    FREE = "may move"
    WARNED = "may move, with warnings"
    BLOCKED = "blocked"
    UNREAD = "host not read"
    HERE = "is here"


class VmRow(Model):
    """One VM of one host and all other hosts that were read, each judged as if the VM were alone.

    A host stands in exactly one of `free`, `warned` and `blocked`, in the inventory's order.
    """

    vm: str
    uuid: str
    host: str
    state: DomainState
    mode: MigrationMode  # the one that it would take
    mode_reason: str
    memory_kib: int
    free: tuple[str, ...] = ()
    warned: dict[str, tuple[str, ...]] = Field(default_factory=dict)  # host → rules that warn
    blocked: dict[str, tuple[Finding, ...]] = Field(default_factory=dict)  # host → what blocks

    @property
    def movable_to(self) -> tuple[str, ...]:
        """The hosts that it may go to: those without a warning first."""
        return (*self.free, *self.warned)

    def verdict(self, dest: str) -> Verdict:
        """Return the cell of a host."""
        if dest == self.host:
            return Verdict.HERE
        if dest in self.blocked:
            return Verdict.BLOCKED
        if dest in self.warned:
            return Verdict.WARNED
        return Verdict.FREE if dest in self.free else Verdict.UNREAD


class Movability(Model):
    """The matrix: VM × host."""

    taken_at: datetime
    hosts: tuple[str, ...]  # all of the inventory, in its order
    unread: tuple[Unreachable, ...] = ()
    rows: tuple[VmRow, ...] = ()  # by host in the inventory's order, then by name
    lifted: tuple[str, ...] = ()

    @property
    def immovable(self) -> tuple[VmRow, ...]:
        """The VMs that can go nowhere."""
        return tuple(row for row in self.rows if not row.movable_to)


class Placed(Model):
    """A VM with the host that would take it, all of its host's VMs placed together."""

    vm: str
    uuid: str
    dest: str


class Emptying(Model):
    """Whether a host could be emptied now: all of its VMs together; moves ∪ stranded = all domains of the host."""

    host: str
    moves: tuple[Placed, ...] = ()
    stranded: tuple[Stranded, ...] = ()


class HostLoss(Model):
    """What would become of a host's VMs if it went down now: nothing could be copied, nothing asked of it.

    `survivors` and `stranded` are its running VMs, placed together; `unstartable` are VMs that are shut off and that
    no other host could start, each judged alone.
    """

    host: str
    survivors: tuple[Placed, ...] = ()
    stranded: tuple[Stranded, ...] = ()
    unstartable: tuple[Stranded, ...] = ()


class Trouble(StrEnum):
    """What is wrong with a VM that the fleet knows more than once, most dangerous first."""

    RUNS_TWICE = "runs twice"
    ACTIVE_TWICE = "two QEMU processes"
    DISK_TWICE = "one disk, two VMs"
    AUTOSTART_TWICE = "autostart of a second definition"
    LEFT_PAUSED = "left paused by a migration"
    MARK_LEFT = "mark of a run that is over"
    DEFINED_TWICE = "defined twice"
    NAME_TWICE = "one name, several VMs"


class DomainTrouble(Model):
    """One VM, or one name, that should be looked at; the message says where and what to type."""

    kind: Trouble
    vm: str
    uuid: str | None = None
    hosts: tuple[str, ...]
    message: str

    @property
    def is_alarm(self) -> bool:
        """Whether two copies may be writing to one disk, now or after a wrong word, or a VM stands still for ever."""
        return self.kind in (Trouble.RUNS_TWICE, Trouble.ACTIVE_TWICE, Trouble.LEFT_PAUSED)


class Listing(Model):
    """The files below storage directories, as one host lists them; `problem` says why it could not."""

    host: str
    directories: tuple[str, ...]
    files: tuple[StoredFile, ...] = ()
    problem: str = ""


class FileKind(StrEnum):
    """What a file is that no domain names."""

    LEFTOVER = "named by no domain"
    MEDIA = "media in no drive"
    SET_ASIDE = "set aside by vmferry after a move"
    STAGED = "left of a copy by vmferry"
    VOLUME = "block device that a VM has left"
    IN_WORK = "of a run that is not settled"
    UNDECIDED = "undecided"


class OrphanFile(Model):
    """A file that no domain names; `detail` says why nothing more is known, or what to do."""

    kind: FileKind
    host: str  # that listed it
    path: str
    group: str | None = None  # shared storage of the inventory
    size_bytes: int
    allocated_bytes: int
    modified_at_s: int = 0
    run: str | None = None
    detail: str = ""


FORM = 1  # of saved audits; raised when an older one can no longer be compared


class SavedVm(Model):
    """One VM in the compact form that audits are saved in."""

    vm: str
    uuid: str
    host: str
    state: DomainState
    movable_to: tuple[str, ...] = ()
    blocked_by: tuple[str, ...] = ()  # rules, over all hosts


class SavedAudit(Model):
    """What the next audit is compared with."""

    version: int = FORM
    taken_at: datetime
    hosts: tuple[str, ...]  # of the inventory
    unread: tuple[str, ...] = ()
    vms: tuple[SavedVm, ...] = ()

    @classmethod
    def of(cls, matrix: Movability) -> SavedAudit:
        """Return the compact form of a matrix."""
        vms = (
            SavedVm(
                vm=row.vm,
                uuid=row.uuid,
                host=row.host,
                state=row.state,
                movable_to=row.movable_to,
                blocked_by=tuple(sorted({f.rule for findings in row.blocked.values() for f in findings})),
            )
            for row in matrix.rows
        )
        unread = tuple(lost.host for lost in matrix.unread)
        return cls(taken_at=matrix.taken_at, hosts=matrix.hosts, unread=unread, vms=tuple(vms))


class VmChange(Model):
    """What changed for one VM; `rules` are those that block now."""

    vm: str
    uuid: str
    host: str
    before: str | None = None  # the host where it was, if that changed
    rules: tuple[str, ...] = ()


class Changes(Model):
    """What changed since an earlier audit; what lies on a host that was not read both times is left out."""

    since: datetime
    unmovable: tuple[VmChange, ...] = ()  # could go somewhere, can go nowhere
    movable: tuple[VmChange, ...] = ()  # the reverse
    moved: tuple[VmChange, ...] = ()
    added: tuple[VmChange, ...] = ()
    gone: tuple[VmChange, ...] = ()
    hosts_added: tuple[str, ...] = ()
    hosts_gone: tuple[str, ...] = ()
    hosts_lost: tuple[str, ...] = ()  # read then, not now
    hosts_back: tuple[str, ...] = ()

    @property
    def is_empty(self) -> bool:
        """Whether nothing changed."""
        return self == Changes(since=self.since)


class FleetAudit(Model):
    """One audit of the whole fleet; hosts that were not read are in `movability.unread` and judged nowhere."""

    taken_at: datetime
    movability: Movability
    emptying: tuple[Emptying, ...] = ()  # per host that was read
    losses: tuple[HostLoss, ...] = ()  # per host that was read
    troubles: tuple[DomainTrouble, ...] = ()  # most dangerous first
    files: tuple[OrphanFile, ...] | None = None  # None: not looked for
    file_problems: tuple[str, ...] = ()  # directories that could not be listed
    changes: Changes | None = None  # None: there is no earlier audit
    notes: tuple[str, ...] = ()

    @property
    def alarms(self) -> tuple[DomainTrouble, ...]:
        """The VMs that run twice, and those of which a migration has left a copy that belongs to nobody."""
        return tuple(trouble for trouble in self.troubles if trouble.is_alarm)
