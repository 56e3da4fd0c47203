"""What vmferry needs of the outside, as Protocols; adapters and the simulated fleet implement them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Protocol
from uuid import UUID

from vmferry.model.convergence import Order
from vmferry.model.disks import CopyDone, CopyOptions, CopyStats, LiveDisk
from vmferry.model.effects import Effect
from vmferry.model.facts import (
    CpuVerdict,
    FileFacts,
    GuestCpu,
    ImageFacts,
    ImageFile,
    Peer,
    PeerReach,
    StoredFile,
    SystemFacts,
)
from vmferry.model.forecast import DirtyRate
from vmferry.model.host import Cordon, Host, HostFacts, Inventory
from vmferry.model.journal import Mark, Row, RunRecord
from vmferry.model.migration import JobStats, MigrationOutcome, MigrationPlan
from vmferry.model.sighting import ListedDomain, Sighting

OnProgress = Callable[[JobStats], None]
PLAIN_COPY = CopyOptions()
OnCopy = Callable[[CopyStats], None]
# Called before a running job is changed, and makes that durable; what it raises keeps the change from being made.
# Called again with `refusal` when the change was refused.
OnOrder = Callable[[Order], None]


class Hypervisor(Protocol):
    """libvirt of one host. Every call is bounded in time and raises VmferryError subclasses only."""

    host: str

    def read_host(self) -> HostFacts:
        """Read the host and all of its domains; `bridges` and `storage_free_bytes` stay empty (HostTools)."""
        ...

    def compare_cpus(self, cpus: Sequence[GuestCpu]) -> dict[str, CpuVerdict]:
        """Return, by `GuestCpu.key`, whether this host can run each guest CPU; a failed comparison is a verdict too."""
        ...

    def look(self, uuid: UUID) -> Sighting:
        """Tell how the VM stands here; never raises: an unreachable host is a Sighting too."""
        ...

    def read_xml(self, uuid: UUID, *, is_inactive: bool) -> str:
        """Return the domain XML with secrets: the persistent one, or the live migratable one."""
        ...

    def define(self, xml: str) -> None:
        """Define a persistent domain; raises PermanentError when name or UUID belongs to another domain."""
        ...

    def undefine(self, uuid: UUID) -> None:
        """Remove the persistent definition, keeping NVRAM and TPM state; no-op when there is none."""
        ...

    def set_autostart(self, uuid: UUID, is_autostart: bool) -> None:
        """Set the autostart flag of a persistent domain."""
        ...

    def suspend(self, uuid: UUID) -> None:
        """Pause the VM's CPUs."""
        ...

    def resume(self, uuid: UUID) -> None:
        """Let a paused VM run."""
        ...

    def destroy(self, uuid: UUID) -> None:
        """End the VM's QEMU at once; no-op when it is not active. Only settlement may call it."""
        ...

    def warm_up(self) -> None:
        """Begin to open what a move from here will need, in the background; an error is that of the move, if at all."""
        ...

    def migrate(self, plan: MigrationPlan, on_progress: OnProgress, on_order: OnOrder | None = None) -> JobStats:
        """Move the VM from this host, peer to peer; block until libvirt returns. It arrives as `plan.switch` says.

        The plan's policy helps a job that does not converge, each act told to `on_order` first; without `on_order`
        there is nobody to write it down, and nothing but the deadline's abort is done.
        Raises OutcomeUnknown whenever the answer does not prove what happened: the caller looks at both hosts.
        """
        ...

    def when_stopped(self, uuid: UUID, act: Callable[[], None]) -> Callable[[], None] | None:
        """Call `act` when the VM's CPUs are stopped here for a switch-over; return what ends that.

        None where no such event can be had. `act` is called from another thread, perhaps more than once or never, and
        must return at once without asking this host.
        """
        ...

    def watch_job(self, uuid: UUID, on_progress: OnProgress, *, timeout_s: float) -> bool:
        """Wait for a running migration job of this VM to end; False when it still runs after `timeout_s`."""
        ...

    def adopt(self, plan: MigrationPlan, on_progress: OnProgress, on_order: OnOrder, *, timeout_s: float) -> bool:
        """As `watch_job` for a job of this plan that another process began: its policy goes on helping it.

        Over, too, is a post-copy that broke off; False is told, too, of one in which nothing is sent any more.
        """
        ...

    def resume_postcopy(self, plan: MigrationPlan, on_progress: OnProgress) -> None:
        """Let a post-copy that broke off go on (VIR_MIGRATE_POSTCOPY_RESUME); block until libvirt returns.

        Raises OutcomeUnknown whenever the answer does not prove what happened.
        """
        ...

    def measure_dirty_rates(self, uuids: Sequence[UUID], seconds: int) -> dict[UUID, DirtyRate]:
        """Measure how fast running VMs write to their memory, all at the same time; takes `seconds` and a little."""
        ...

    def create_volume(self, pool: str, name: str, *, size_bytes: int, format: str) -> str:
        """Create a volume in an active pool and return its path; raises CopyFailed when there is one of that name."""
        ...

    def delete_volume(self, pool: str, name: str) -> None:
        """Remove a volume; no-op when it is gone."""
        ...

    def refresh_pool(self, pool: str) -> None:
        """Let libvirt look again at what is in a pool."""
        ...

    def abort_job(self, uuid: UUID) -> None:
        """Ask libvirt to cancel the VM's job; a request, the caller looks afterwards."""
        ...

    def close(self) -> None:
        """Close the connections."""
        ...


class HostTools(Protocol):
    """What is asked of a host over ssh, run on that host. Arguments are data, never shell text."""

    host: str

    def read_system(self) -> SystemFacts:
        """Read system release, services, sshd limits, clock, network devices, mounts, migration ports: one command."""
        ...

    def probe_peers(self, peers: Sequence[Peer]) -> dict[str, PeerReach]:
        """Try every peer from this host, all at once, in one command; the answers by `Peer.host`."""
        ...

    def virsh_list(self) -> tuple[ListedDomain, ...]:
        """Return `virsh list --all` of this host."""
        ...

    def free_bytes(self, paths: Sequence[str]) -> dict[str, int]:
        """Return the free bytes of the file system under each directory that exists."""
        ...

    def stat_files(self, paths: Sequence[str]) -> dict[str, FileFacts]:
        """Return the facts of those paths that exist."""
        ...

    def make_markers(self, directories: Sequence[str], name: str) -> tuple[str, ...]:
        """Make an empty file in each directory, for shared-storage proofs; return where that was possible."""
        ...

    def remove_markers(self, directories: Sequence[str], name: str) -> None:
        """Remove what `make_markers` made; no-op where it is gone."""
        ...

    def hold_image_locks(self, directories: Sequence[str], name: str, seconds: int) -> None:
        """Hold QEMU's image lock on the marker `name` in each directory, in the background, until the marker is removed
        or so many seconds are over. Where that is not possible nothing is held.
        """
        ...

    def find_image_locks(self, markers: Sequence[str]) -> tuple[str, ...]:
        """Return those of the marker files that a QEMU of this host could not open, because another one holds them."""
        ...

    def find_qemu(self, name: str, uuid: UUID) -> str:
        """Return what tells this domain's QEMU process from every other of this host; empty where none is found."""
        ...

    def await_end(self, process: str, seconds: int) -> bool:
        """Wait for the end of a process that `find_qemu` named; False when it lives on after so many seconds."""
        ...

    def measure_link(self, dest: Host, seconds: float) -> float:
        """Return how many MiB/s one ssh stream carries from here to `dest`, measured for at most `seconds`."""
        ...

    def backing_chains(self, images: Sequence[ImageFile]) -> dict[str, tuple[str, ...]]:
        """Return path → backing files, nearest first; an image that could not be read is left out."""
        ...

    def read_images(self, images: Sequence[ImageFile]) -> dict[str, ImageFacts]:
        """Return what `qemu-img info` says of images, also of those in use; one that could not be read is left out."""
        ...

    def list_files(self, directories: Sequence[str]) -> tuple[StoredFile, ...]:
        """Return the regular files below each directory that exists, on its own file system, sorted by path."""
        ...

    def backing_files(self, paths: Sequence[str]) -> dict[str, str]:
        """Return what qcow2 images name as their backing file, as their headers spell it; other files are left out.

        For files that no domain names, of whatever format. Raises PermanentError when one cannot be read.
        """
        ...

    def checksum(self, path: str) -> str:
        """Return the BLAKE2b digest of a file's content."""
        ...

    def copy_file(
        self, path: str, dest: Host, staging: str, options: CopyOptions = PLAIN_COPY, on_copy: OnCopy | None = None
    ) -> CopyDone:
        """Copy a file straight to `dest` under the path `staging`; on return the copy is proved to equal the original.

        Sparse stays sparse. What an earlier attempt left at `staging` is kept where it is the same, and only the rest
        is sent. Raises TransientError when it may be tried again, CopyFailed when that would not help; the original is
        never touched, and the half of a copy stays for the next attempt or for undo.
        """
        ...

    def make_image(self, disk: LiveDisk) -> int:
        """Make an empty image for QEMU to mirror into; return its inode. Raises CopyFailed when the path exists."""
        ...

    def rebase(self, path: str, backing: str, format: str) -> None:
        """Change what a qcow2 image says it builds on; its content stays as it is."""
        ...

    def publish(self, staging: str, path: str) -> None:
        """Give a staged file its name, keeping its inode; raises CopyFailed when `path` exists: never overwrites."""
        ...

    def set_aside(self, path: str, aside: str) -> None:
        """Rename a file; no-op when it is already done; never overwrites."""
        ...

    def remove_file(self, path: str) -> None:
        """Remove a file; no-op when it is gone."""
        ...


class Journal(Protocol):
    """Durable memory of runs and cordons; every write is on disk when the call returns."""

    def open_run(self, plan: MigrationPlan) -> None:
        """Open a run; raises AlreadyMoving when the VM has one that is not closed."""
        ...

    def write(self, run: str, step: str, mark: Mark, effect: Effect | None = None, note: str = "") -> None:
        """Append a row."""
        ...

    def rows(self, run: str) -> tuple[Row, ...]:
        """Return the rows of a run in the order of writing."""
        ...

    def find(self, run: str) -> RunRecord:
        """Return a run; raises NotFound."""
        ...

    def unsettled(self) -> tuple[RunRecord, ...]:
        """Return all runs that are open or held, oldest first."""
        ...

    def recent(self, limit: int) -> tuple[RunRecord, ...]:
        """Return the newest runs, newest first."""
        ...

    def take_over(self, run: str) -> bool:
        """Become the owner of an unsettled run whose owner is dead; False when its owner lives."""
        ...

    def hold(self, run: str, reason: str) -> None:
        """Mark a run as waiting for a human."""
        ...

    def close_run(self, run: str, outcome: MigrationOutcome) -> None:
        """Close a run with its outcome."""
        ...

    def cordon(self, host: str, reason: str) -> None:
        """Close a host for arrivals; a second cordon of the same host keeps the first."""
        ...

    def uncordon(self, host: str) -> bool:
        """Open it again; False when it was not cordoned."""
        ...

    def cordons(self) -> tuple[Cordon, ...]:
        """Return the cordoned hosts."""
        ...


class Clock(Protocol):
    """Time, so that tests need not wait."""

    def now(self) -> datetime:
        """Return the present, UTC."""
        ...

    def sleep(self, seconds: float) -> None:
        """Wait."""
        ...


class World(Protocol):
    """Everything a step may touch."""

    @property
    def inventory(self) -> Inventory:
        """The hosts that may be touched."""
        ...

    @property
    def journal(self) -> Journal:
        """The durable memory of runs."""
        ...

    @property
    def clock(self) -> Clock:
        """Time."""
        ...

    def hypervisor(self, host: str) -> Hypervisor:
        """Return the host's libvirt; connections are opened late and reused."""
        ...

    def tools(self, host: str) -> HostTools:
        """Return the host's ssh tools."""
        ...

    def close(self) -> None:
        """Close all connections."""
        ...
