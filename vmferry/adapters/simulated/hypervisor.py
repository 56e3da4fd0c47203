"""libvirt of one simulated host: the Hypervisor port, with libvirt 9.0's measured behaviour."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar
from uuid import UUID

from vmferry.adapters.simulated.checks import check_move, find_dest
from vmferry.adapters.simulated.facts import host_facts
from vmferry.adapters.simulated.faults import Blow
from vmferry.adapters.simulated.ground import Ground
from vmferry.adapters.simulated.moves import PHASE_WORDS, End, Flight, Phase, take_off
from vmferry.adapters.simulated.port import CALL_S, SimulatedPort
from vmferry.adapters.simulated.state import SimDomain, SimHost
from vmferry.adapters.simulated.texts import read_text
from vmferry.errors import HostBusy, HostUnreachable, NotFound, OutcomeUnknown, PermanentError, VmferryError
from vmferry.model.host import HostFacts
from vmferry.model.migration import JobStats, MigrationPlan
from vmferry.model.sighting import Sighting
from vmferry.model.vm import DomainState
from vmferry.ports import OnProgress

T = TypeVar("T")
STREAM_MIB_S = 256  # memory of a move, where the plan gives no bandwidth
TICK_S = 0.5


class SimulatedHypervisor(SimulatedPort):
    """One host's libvirt."""

    port = "hypervisor"

    def __init__(self, ground: Ground, host: str) -> None:
        super().__init__(ground, host)

    # reads

    def read_host(self) -> HostFacts:
        """Read the host and its domains."""
        return self._ask("read_host", "", lambda host: host_facts(host, self._ground.now()), is_write=False)

    def look(self, uuid: UUID) -> Sighting:
        """Tell how the VM stands here; never raises."""
        try:
            return self._ask("look", uuid, lambda host: _sighting(host, uuid), is_write=False)
        except VmferryError as error:
            return Sighting(host=self.host, is_reachable=False, detail=str(error))

    def read_xml(self, uuid: UUID, *, is_inactive: bool) -> str:
        """Return the persistent or the live XML."""

        def read(host: SimHost) -> str:
            domain = self._find(host, uuid)
            xml = domain.persistent_xml if is_inactive else domain.live_xml
            return xml or domain.xml()  # libvirt gives what there is

        return self._ask("read_xml", uuid, read, is_write=False)

    # definitions

    def define(self, xml: str) -> None:
        """Define a persistent domain."""
        text = read_text(xml)

        def define(host: SimHost) -> None:
            for other in host.domains.values():
                if (other.name == text.name) != (other.uuid == text.uuid):
                    raise PermanentError(
                        f"vm {text.name}: domain {other.name!r} already exists with uuid {other.uuid} on "
                        f"{host.name}; look with `virsh dominfo {other.name}`",
                        vm=text.name,
                        host=host.name,
                    )
            domain = host.domains.setdefault(text.uuid, SimDomain(name=text.name, uuid=text.uuid))
            domain.persistent_xml = xml
            domain.memory_kib = domain.memory_kib if domain.is_active else text.memory_kib

        self._change("define", text.uuid, define)

    def undefine(self, uuid: UUID) -> None:
        """Remove the persistent definition of a VM that is not active here."""

        def undefine(host: SimHost) -> None:
            domain = host.domains.get(uuid)
            if domain is None or domain.persistent_xml is None:
                return
            if domain.is_active:
                raise PermanentError(
                    f"vm {domain.name}: active on {host.name}, not undefined", vm=domain.name, host=host.name
                )
            del host.domains[uuid]

        self._change("undefine", uuid, undefine)

    def set_autostart(self, uuid: UUID, is_autostart: bool) -> None:
        """Set the autostart flag."""

        def set_flag(host: SimHost) -> None:
            domain = self._find(host, uuid)
            if domain.persistent_xml is None:
                raise PermanentError(
                    f"vm {domain.name}: transient, no autostart", vm=domain.name, host=host.name
                )
            domain.is_autostart = is_autostart

        self._change("set_autostart", uuid, set_flag)

    # running

    def suspend(self, uuid: UUID) -> None:
        """Pause the VM's CPUs; during a move the reason is `migration`, as libvirt writes it."""

        def suspend(host: SimHost) -> None:
            domain = self._find_active(host, uuid)
            if domain.is_on_cpu:
                domain.state = DomainState.PAUSED
                domain.reason = "migration" if domain.job == "migration out" else "user"

        self._change("suspend", uuid, suspend)

    def resume(self, uuid: UUID) -> None:
        """Let a paused VM run."""

        def resume(host: SimHost) -> None:
            domain = self._find_active(host, uuid)
            if domain.state is not DomainState.PAUSED:
                raise PermanentError(
                    f"vm {domain.name}: {domain.state} on {host.name}, not paused",
                    vm=domain.name,
                    host=host.name,
                )
            if domain.job is not None:
                raise HostBusy(
                    f"vm {domain.name}: {domain.job} on {host.name}", vm=domain.name, host=host.name
                )
            self._check_locks(host, domain)
            domain.state, domain.reason = DomainState.RUNNING, "unpaused"

        self._change("resume", uuid, resume)

    def destroy(self, uuid: UUID) -> None:
        """End the VM's QEMU at once; no-op when it is not active."""

        def destroy(host: SimHost) -> None:
            domain = host.domains.get(uuid)
            if domain is not None and domain.is_active:
                self._ground.end_guest(host, domain, "destroyed", Blow.QEMU_KILLED)

        self._change("destroy", uuid, destroy)

    # moving

    def migrate(self, plan: MigrationPlan, on_progress: OnProgress) -> JobStats:
        """Move the VM; the move goes on in the world when the caller dies."""
        ground = self._ground

        def move() -> JobStats:
            with ground.lock:
                ground.advance(CALL_S)
                source = ground.reach(self.host, libvirt=True)
                dest = find_dest(ground, plan)
                check_move(ground, plan, source, dest)
                rate = plan.bandwidth_mib_s or STREAM_MIB_S
                flight = take_off(plan, source, dest, ground.seconds, max(2.0, plan.memory_kib / 1024 / rate))
                ground.flights.append(flight)
                ground.watch.look(plan.uuid)
                ground.watch.memory(dest)
            return self._follow(flight, on_progress)

        operation = self._operation("migrate", plan.uuid, is_write=True, peer=plan.dest)
        return self._call(operation, move)

    def watch_job(self, uuid: UUID, on_progress: OnProgress, *, timeout_s: float) -> bool:
        """Wait for the VM's job to end."""
        ground = self._ground

        def watch() -> bool:
            end = ground.seconds + timeout_s
            while True:
                with ground.lock:
                    domain = ground.reach(self.host, libvirt=True).domains.get(uuid)
                    if domain is None or domain.job is None:
                        return True
                    if ground.seconds >= end:
                        return False
                    flight = ground.flight_of(uuid, self.host)
                    if flight is not None:
                        on_progress(flight.stats(ground.seconds))
                    ground.advance(min(TICK_S, max(0.001, end - ground.seconds)))

        return self._call(self._operation("watch_job", uuid, is_write=False), watch)

    def abort_job(self, uuid: UUID) -> None:
        """Cancel the VM's job; refused when there is none or when the switch-over has begun."""

        def abort(host: SimHost) -> None:
            domain = self._find_active(host, uuid)
            flight = self._ground.flight_of(uuid, host.name)
            if domain.job is None or (flight is not None and flight.source is not host):
                raise PermanentError(
                    f"vm {domain.name}: no job active on {host.name}", vm=domain.name, host=host.name
                )
            if flight is None:
                domain.job = None
            elif not flight.strike(Blow.ABORTED, End.BOTH, self._ground.seconds):
                raise PermanentError(f"vm {domain.name}: too late to cancel", vm=domain.name, host=host.name)

        self._change("abort_job", uuid, abort)

    # shared

    def _follow(self, flight: Flight, on_progress: OnProgress) -> JobStats:
        """Wait for a flight phase by phase, so that faults can strike inside the move."""
        ground = self._ground
        starts = ground.daemon_starts.get(self.host)
        for phase in (Phase.MEMORY, Phase.SWITCH, Phase.ARRIVED, Phase.OVER):
            while flight.phase < phase:
                with ground.lock:
                    self._check_connection(flight, starts)
                    at = flight.next_at()
                    ground.advance(TICK_S if at is None else min(TICK_S, max(0.0, at - ground.seconds)))
                    stats = flight.stats(ground.seconds)
                on_progress(stats)
            if flight.phase is phase and phase is not Phase.OVER:
                word = PHASE_WORDS[phase]
                inner = self._operation(
                    "migrate", flight.plan.uuid, is_write=True, phase=word, peer=flight.dest.name
                )
                self._call(inner, lambda: None)
        self._check_connection(flight, starts)
        if flight.error:
            raise _unknown(flight, flight.error)
        return flight.stats(ground.seconds)

    def _check_connection(self, flight: Flight, starts: int | None) -> None:
        try:
            self._ground.reach(self.host, libvirt=True)
        except HostUnreachable as error:
            raise _unknown(flight, f"connection to {self.host} lost (ERR 38)") from error
        if self._ground.daemon_starts.get(self.host) != starts:
            raise _unknown(flight, f"libvirtd of {self.host} was restarted (ERR 38)")

    def _ask(self, op: str, subject: object, effect: Callable[[SimHost], T], *, is_write: bool) -> T:
        def run() -> T:
            with self._ground.lock:
                self._ground.advance(CALL_S)
                return effect(self._ground.reach(self.host, libvirt=True))

        return self._call(self._operation(op, subject, is_write=is_write), run)

    def _change(self, op: str, uuid: UUID, effect: Callable[[SimHost], None]) -> None:
        def run(host: SimHost) -> None:
            effect(host)
            self._ground.watch.look(uuid)

        self._ask(op, uuid, run, is_write=True)

    def _find(self, host: SimHost, uuid: UUID) -> SimDomain:
        domain = host.domains.get(uuid)
        if domain is None:
            raise NotFound(
                f"vm {uuid}: no such domain on {host.name}; look with `virsh list --all`", host=host.name
            )
        return domain

    def _find_active(self, host: SimHost, uuid: UUID) -> SimDomain:
        domain = self._find(host, uuid)
        if not domain.is_active:
            raise PermanentError(
                f"vm {domain.name}: not running on {host.name}", vm=domain.name, host=host.name
            )
        return domain

    def _check_locks(self, host: SimHost, domain: SimDomain) -> None:
        """Refuse to run where an image lock that works across hosts is held by the VM's other copy."""
        others = [n for n in self._ground.watch.running_on(domain.uuid) if n != host.name]
        spaces = [host.locate(path)[0] for path in read_text(domain.xml()).disks]
        if others and any(space.is_shared and space.has_locks for space in spaces):
            raise PermanentError(
                f'vm {domain.name}: Failed to get "write" lock on {host.name}: it runs on {others[0]}',
                vm=domain.name,
                host=host.name,
            )


def _sighting(host: SimHost, uuid: UUID) -> Sighting:
    domain = host.domains.get(uuid)
    if domain is None:
        return Sighting(host=host.name)
    return Sighting(
        host=host.name,
        state=domain.state,
        reason=domain.reason,
        has_job=domain.job is not None,
        is_persistent=domain.persistent_xml is not None,
    )


def _unknown(flight: Flight, detail: str) -> OutcomeUnknown:
    source, dest = flight.source.name, flight.dest.name
    return OutcomeUnknown(
        f"vm {flight.plan.vm}: {detail}; look with `virsh list --all` on {source} and {dest}",
        vm=flight.plan.vm,
        host=source,
    )
