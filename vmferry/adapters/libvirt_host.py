"""libvirt of one host: `vmferry.ports.Hypervisor` on libvirt-python."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TypeVar
from uuid import UUID

import libvirt

from vmferry.adapters.libvirt_calls import bounded, open_connection, text_of, translate
from vmferry.adapters.libvirt_cpus import compare_cpus
from vmferry.adapters.libvirt_dirty import measure_dirty_rates
from vmferry.adapters.libvirt_domains import has_job, undefine_inactive
from vmferry.adapters.libvirt_events import StopEvents
from vmferry.adapters.libvirt_facts import read_facts
from vmferry.adapters.libvirt_marks import put_mark, take_mark
from vmferry.adapters.libvirt_migrate import Migration
from vmferry.adapters.libvirt_postcopy import adopt_job, resume_postcopy
from vmferry.adapters.libvirt_power import PowerOfVms
from vmferry.adapters.libvirt_usage import read_counters
from vmferry.adapters.libvirt_volumes import create_volume, delete_volume, refresh_pool
from vmferry.adapters.libvirt_words import job_stats, state_words
from vmferry.errors import HostUnreachable, NotFound, OutcomeUnknown, VmferryError
from vmferry.model.facts import CpuVerdict, GuestCpu
from vmferry.model.forecast import DirtyRate
from vmferry.model.host import Host, HostFacts
from vmferry.model.mark import VmMark
from vmferry.model.migration import JobStats, MigrationPlan
from vmferry.model.sighting import Sighting
from vmferry.model.usage import HostCounters
from vmferry.ports import OnOrder, OnProgress
from vmferry.settings import Settings

logger = logging.getLogger("vmferry.libvirt")
T = TypeVar("T")


class LibvirtHypervisor(PowerOfVms):
    """One control connection, reopened when it is lost, and one more per running migration.

    A server handles five requests per connection at a time, so a migration on the control connection could block
    its own abort.
    """

    def __init__(self, host: Host, settings: Settings) -> None:
        self.host = host.name
        self._entry = host
        self._settings = settings
        self._lock = threading.Lock()
        self._connection: libvirt.virConnect | None = None
        self._idle: list[libvirt.virConnect] = []
        self._is_closed = False
        self._stops = StopEvents()

    def read_host(self) -> HostFacts:
        """Read the host and all of its domains."""
        return self._call("read host", lambda c: read_facts(c, self._entry), is_write=False)

    def read_counters(self) -> HostCounters:
        """Read the counters of the host and of its running VMs."""
        return self._call("read usage", lambda c: read_counters(c, self.host), is_write=False)

    def compare_cpus(self, cpus: Sequence[GuestCpu]) -> dict[str, CpuVerdict]:
        """Return, by `GuestCpu.key`, whether this host can run each CPU; a failed comparison is a verdict too."""
        return self._call("compare CPUs", lambda c: compare_cpus(c, cpus), is_write=False) if cpus else {}

    def look(self, uuid: UUID) -> Sighting:
        """Tell how the VM stands here; a host that does not answer is a sighting too."""
        try:
            return self._call(f"look at {uuid}", lambda c: _look(c, self.host, uuid), is_write=False)
        except NotFound:
            return Sighting(host=self.host)
        except VmferryError as error:
            return Sighting(host=self.host, is_reachable=False, detail=str(error))

    def read_xml(self, uuid: UUID, *, is_inactive: bool) -> str:
        """Return the persistent XML or the live migratable one, secrets included."""
        kind = libvirt.VIR_DOMAIN_XML_INACTIVE if is_inactive else libvirt.VIR_DOMAIN_XML_MIGRATABLE
        flags = kind | libvirt.VIR_DOMAIN_XML_SECURE
        return self._on_domain("read XML", uuid, lambda d: str(d.XMLDesc(flags)), is_write=False)

    def define(self, xml: str) -> None:
        """Define a persistent domain; libvirt validates the XML against its schema."""
        self._call("define", lambda c: c.defineXMLFlags(xml, libvirt.VIR_DOMAIN_DEFINE_VALIDATE), is_write=True)

    def undefine(self, uuid: UUID) -> None:
        """Remove the persistent definition, keeping NVRAM and TPM state; no-op when there is none.

        libvirt would turn a running domain transient; that is never what we want.
        """
        with suppress(NotFound):
            self._on_domain("undefine", uuid, lambda d: undefine_inactive(d, self.host), is_write=True)

    def set_autostart(self, uuid: UUID, is_autostart: bool) -> None:
        """Set the autostart flag of a persistent domain."""
        self._on_domain("set autostart", uuid, lambda d: d.setAutostart(int(is_autostart)), is_write=True)

    def mark(self, uuid: UUID, mark: VmMark) -> tuple[VmMark, ...]:
        """Write a run's mark into the domain's metadata; return all marks that are there afterwards."""
        return self._on_domain("mark", uuid, lambda d: put_mark(d, mark), is_write=True)

    def unmark(self, uuid: UUID, run: str) -> None:
        """Take a run's mark away; no-op when mark or domain is gone."""
        with suppress(NotFound):
            self._on_domain("take the mark off", uuid, lambda d: take_mark(d, run), is_write=True)

    def suspend(self, uuid: UUID) -> None:
        """Pause the VM's CPUs."""
        self._on_domain("suspend", uuid, lambda d: d.suspend(), is_write=True)

    def resume(self, uuid: UUID) -> None:
        """Let a paused VM run."""
        self._on_domain("resume", uuid, lambda d: d.resume(), is_write=True)

    def destroy(self, uuid: UUID) -> None:
        """End the VM's QEMU at once; no-op when it is not active."""

        def act(domain: libvirt.virDomain) -> None:
            if domain.isActive():
                domain.destroy()

        with suppress(NotFound):
            self._on_domain("destroy", uuid, act, is_write=True)

    def migrate(self, plan: MigrationPlan, on_progress: OnProgress, on_order: OnOrder | None = None) -> JobStats:
        """Move the VM from here, peer to peer; it arrives paused."""
        moving = self._take_idle()
        try:
            job = Migration(plan, control=self._open(), moving=moving, settings=self._settings, on_order=on_order)
            stats = job.run(on_progress)
        except VmferryError:
            _close(moving)  # its call may still hang
            raise
        with self._lock:
            self._idle.append(moving)
        return stats

    def warm_up(self) -> None:
        """Begin to open the next move's connection: over ssh it takes 0.3 s, in which the move could run."""
        with self._lock:
            if self._idle:
                return
        threading.Thread(target=self._open_idle, name=f"warm-up-{self.host}", daemon=True).start()

    def _open_idle(self) -> None:
        try:
            connection = open_connection(self._entry.uri, self.host, self._settings)
        except VmferryError as error:
            logger.debug("host %s: no connection beforehand: %s", self.host, error)
            return
        with self._lock:
            if not self._is_closed:
                self._idle.append(connection)
                return
        _close(connection)

    def _take_idle(self) -> libvirt.virConnect:
        """Return a connection for one migration: one that an earlier move has left, or a new one (0.3 s)."""
        with self._lock:
            while self._idle:
                connection = self._idle.pop()
                if connection.isAlive():
                    return connection
        return open_connection(self._entry.uri, self.host, self._settings)

    def when_stopped(self, uuid: UUID, act: Callable[[], None]) -> Callable[[], None] | None:
        """Call `act` when the VM's CPUs are stopped here for a switch-over; return what ends that."""
        return self._stops.when_stopped(self._open(), uuid, act)

    def watch_job(self, uuid: UUID, on_progress: OnProgress, *, timeout_s: float) -> bool:
        """Wait for a migration job that somebody else started; False when it still runs after `timeout_s`."""
        waited = 0.0
        while self.look(uuid).has_job:
            if waited >= timeout_s:
                return False
            try:
                on_progress(self._on_domain("job", uuid, lambda d: job_stats(d.jobStats()), is_write=False))
            except VmferryError as error:
                logger.debug("no job statistics: %s", error)  # the job may just have ended
            threading.Event().wait(self._settings.progress_interval_s)
            waited += self._settings.progress_interval_s
        return True

    def adopt(self, plan: MigrationPlan, on_progress: OnProgress, on_order: OnOrder, *, timeout_s: float) -> bool:
        """Wait for the end of a job of this plan that another process began, and help it."""
        return adopt_job(plan, self._open(), self._settings, on_progress, on_order, timeout_s=timeout_s)

    def resume_postcopy(self, plan: MigrationPlan, on_progress: OnProgress) -> None:
        """Let a post-copy that broke off go on."""
        moving = open_connection(self._entry.uri, self.host, self._settings)
        try:
            resume_postcopy(plan, self._open(), moving, self._settings, on_progress)
        finally:
            _close(moving)

    def measure_dirty_rates(self, uuids: Sequence[UUID], seconds: int) -> dict[UUID, DirtyRate]:
        """Measure how fast running VMs write to their memory, all in one window."""
        return (
            self._call("measure dirty rates", lambda c: measure_dirty_rates(c, uuids, seconds), is_write=False)
            if uuids
            else {}
        )

    def create_volume(self, pool: str, name: str, *, size_bytes: int, format: str) -> str:
        """Create a volume and return its path."""

        def act(connection: libvirt.virConnect) -> str:
            return create_volume(connection, self.host, pool, name, size_bytes=size_bytes, format=format)

        return self._call(f"create volume {name} in pool {pool}", act, is_write=True)

    def delete_volume(self, pool: str, name: str) -> None:
        """Remove a volume; no-op when it is gone."""
        self._call(f"delete volume {name} of pool {pool}", lambda c: delete_volume(c, pool, name), is_write=True)

    def refresh_pool(self, pool: str) -> None:
        """Let libvirt look again at what is in a pool."""
        self._call(f"refresh pool {pool}", lambda c: refresh_pool(c, pool), is_write=True)

    def abort_job(self, uuid: UUID) -> None:
        """Ask libvirt to cancel the VM's job."""
        self._on_domain("abort job", uuid, lambda d: d.abortJob(), is_write=True)

    def close(self) -> None:
        """Close all connections to this host."""
        with self._lock:
            connections = [*self._idle, *([self._connection] if self._connection is not None else [])]
            self._idle, self._connection, self._is_closed = [], None, True
        for connection in connections:
            _close(connection)

    def _open(self) -> libvirt.virConnect:
        """Return the control connection, opened when there is none that lives."""
        with self._lock:
            if self._connection is not None and self._connection.isAlive():
                return self._connection
            self._connection = open_connection(self._entry.uri, self.host, self._settings)
            self._is_closed = False  # it may have been closed after an answer that did not come
            return self._connection

    def _on_domain(self, what: str, uuid: UUID, act: Callable[[libvirt.virDomain], T], *, is_write: bool) -> T:
        return self._call(f"{what} {uuid}", lambda c: act(c.lookupByUUID(uuid.bytes)), is_write=is_write)

    def _call(self, what: str, call: Callable[[libvirt.virConnect], T], *, is_write: bool) -> T:
        """Run one call on the control connection, bounded in time, errors translated."""
        connection = self._open()
        try:
            return bounded(lambda: call(connection), self._settings.call_timeout_s)
        except libvirt.libvirtError as error:
            raise translate(error, self.host, what, is_write=is_write) from error
        except TimeoutError as error:
            self.close()
            kind: type[VmferryError] = OutcomeUnknown if is_write else HostUnreachable
            raise kind(f"host {self.host}: {what}: {error}", host=self.host) from error


def _look(connection: libvirt.virConnect, host: str, uuid: UUID) -> Sighting:
    domain = connection.lookupByUUID(uuid.bytes)
    state, reason = state_words(*domain.state(0))
    return Sighting(
        host=host,
        state=state,
        reason=reason,
        has_job=has_job(domain),
        is_persistent=bool(domain.isPersistent()),
    )


def _close(connection: libvirt.virConnect) -> None:
    try:
        bounded(connection.close, 5.0)
    except (libvirt.libvirtError, TimeoutError) as error:
        logger.debug("closing a connection: %s", text_of(error) if isinstance(error, libvirt.libvirtError) else error)
