"""One move on a simulated host: start it, follow it, watch it, cancel it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar
from uuid import UUID

from vmferry.adapters.simulated.departure import check_departure, depart
from vmferry.adapters.simulated.dirty import dirty_rates
from vmferry.adapters.simulated.endings import PHASE_WORDS, End, Phase
from vmferry.adapters.simulated.faults import Blow
from vmferry.adapters.simulated.moves import Flight
from vmferry.adapters.simulated.port import CALL_S, SimulatedPort
from vmferry.adapters.simulated.postcopy import RESUME_S
from vmferry.adapters.simulated.precopy import Precopy
from vmferry.adapters.simulated.state import SimDomain, SimHost
from vmferry.adapters.simulated.volumes import create_volume, delete_volume, refresh_pool
from vmferry.adapters.simulated.wheel import SimulatedWheel, Stillness
from vmferry.adapters.steering import Steering
from vmferry.errors import HostUnreachable, NotFound, OutcomeUnknown, PermanentError
from vmferry.model.forecast import DirtyRate
from vmferry.model.migration import JobStats, MigrationPlan
from vmferry.model.transport import Switch
from vmferry.model.vm import DomainState
from vmferry.planning.course import start_course
from vmferry.ports import OnOrder, OnProgress

T = TypeVar("T")
TICK_S = 0.5


class SimulatedMigration(SimulatedPort):
    """The part of libvirt that moves."""

    port = "hypervisor"

    def warm_up(self) -> None:
        """There is nothing to open."""

    def migrate(self, plan: MigrationPlan, on_progress: OnProgress, on_order: OnOrder | None = None) -> JobStats:
        """Move the VM; the move goes on in the world when the caller dies."""
        ground = self._ground

        def move() -> JobStats:
            with ground.lock:
                ground.advance(CALL_S)
                source = ground.reach(self.host, libvirt=True)
                dest = check_departure(ground, plan, source)
                flight = depart(plan, source, dest, ground.seconds)
                ground.flights.append(flight)
                ground.watch.look(plan.uuid)
                ground.watch.memory(dest)
            return self._follow(flight, on_progress, Steering(plan, SimulatedWheel(self, flight), on_order))

        operation = self._operation("migrate", plan.uuid, is_write=True, peer=plan.dest)
        return self._call(operation, move)

    def when_stopped(self, uuid: UUID, act: Callable[[], None]) -> Callable[[], None] | None:
        """There is no such event: one thread drives the simulated clock, so that the next call is always the same."""
        return None

    def watch_job(self, uuid: UUID, on_progress: OnProgress, *, timeout_s: float) -> bool:
        """Wait for the VM's job to end."""
        ground = self._ground

        def watch() -> bool:
            end = ground.seconds + timeout_s
            while True:
                with ground.lock:
                    if not self._has_job(uuid):
                        return True
                    if ground.seconds >= end:
                        return False
                    flight = ground.flight_of(uuid, self.host)
                    if flight is not None:
                        on_progress(flight.stats(ground.seconds))
                    ground.advance(min(TICK_S, max(0.001, end - ground.seconds)))

        return self._call(self._operation("watch_job", uuid, is_write=False), watch)

    def adopt(self, plan: MigrationPlan, on_progress: OnProgress, on_order: OnOrder, *, timeout_s: float) -> bool:
        """Wait for the end of a job of this plan that another process began, and help it."""
        ground = self._ground

        def adopt() -> bool:
            flight = ground.flight_of(plan.uuid, self.host)
            if flight is None:
                return self.watch_job(plan.uuid, on_progress, timeout_s=timeout_s)
            found_at_s, stands_still = ground.seconds - flight.started_s, flight.guest.reason == "migrating"
            course = start_course(plan, may_help=True, found_at_s=found_at_s, was_suspended=stands_still)
            return self._adopt(
                flight, on_progress, Steering(plan, SimulatedWheel(self, flight), on_order, found=course), timeout_s
            )

        return self._call(self._operation("adopt", plan.uuid, is_write=True, peer=plan.dest), adopt)

    def _adopt(self, flight: Flight, on_progress: OnProgress, steering: Steering, timeout_s: float) -> bool:
        ground, still = self._ground, Stillness()
        ends_s = ground.seconds + timeout_s
        while True:
            with ground.lock:
                if not self._has_job(flight.plan.uuid) or flight.is_broken:
                    return True
                stats, now = flight.stats(ground.seconds), ground.seconds
                if (now >= ends_s and not stats.is_postcopy) or still.is_too_long(stats, now):
                    return False
            on_progress(stats)
            steering.take(stats, now - flight.started_s)
            with ground.lock:
                ground.advance(TICK_S)

    def resume_postcopy(self, plan: MigrationPlan, on_progress: OnProgress) -> None:
        """Let a post-copy that broke off go on; one that only stands still is broken off first."""
        ground = self._ground

        def resume() -> None:
            with ground.lock:
                ground.advance(CALL_S)
                ground.reach(self.host, libvirt=True)
                flight = ground.flight_of(plan.uuid, self.host)
                if flight is None or flight.phase is not Phase.POSTCOPY:
                    raise OutcomeUnknown(f"vm {plan.vm}: no post-copy to resume on {self.host}", vm=plan.vm)
                flight.break_off(ground.seconds)
                is_up = ground.hosts[plan.dest].is_libvirtd_up and ground.is_linked(self.host, plan.dest)
                if not is_up or not flight.resume_postcopy(ground.seconds, RESUME_S):
                    raise _unknown(flight, f"no answer from {plan.dest} (ERR 38)")
            self._follow(flight, on_progress, Steering(plan, SimulatedWheel(self, flight), None))

        self._call(self._operation("resume_postcopy", plan.uuid, is_write=True, peer=plan.dest), resume)

    def measure_dirty_rates(self, uuids: Sequence[UUID], seconds: int) -> dict[UUID, DirtyRate]:
        """Measure how fast running VMs write to their memory, all in one window."""
        if not uuids:
            return {}
        self._ask("measure_dirty_rates", "", lambda _host: self._ground.advance(seconds), is_write=False)
        return self._ask("measure_dirty_rates", "", lambda host: dirty_rates(host, uuids, seconds), is_write=False)

    def create_volume(self, pool: str, name: str, *, size_bytes: int, format: str) -> str:
        """Create a volume and return its path."""

        def create(host: SimHost) -> str:
            return create_volume(host, pool, name, size_bytes)

        return self._ask("create_volume", f"{pool}/{name}", create, is_write=True)

    def delete_volume(self, pool: str, name: str) -> None:
        """Remove a volume; no-op when it is gone."""
        self._ask("delete_volume", f"{pool}/{name}", lambda h: delete_volume(h, pool, name), is_write=True)

    def refresh_pool(self, pool: str) -> None:
        """Let libvirt look again at what is in a pool."""
        self._ask("refresh_pool", pool, lambda host: refresh_pool(host, pool), is_write=True)

    def abort_job(self, uuid: UUID) -> None:
        """Cancel the VM's job; refused when there is none or when the switch-over has begun."""

        def abort(host: SimHost) -> None:
            domain = self._find_active(host, uuid)
            flight = self._ground.flight_of(uuid, host.name)
            if domain.job is None or (flight is not None and flight.source is not host):
                raise PermanentError(f"vm {domain.name}: no job active on {host.name}", vm=domain.name, host=host.name)
            if flight is None:
                domain.job = None
            elif not flight.strike(Blow.ABORTED, End.BOTH, self._ground.seconds):
                raise PermanentError(f"vm {domain.name}: too late to cancel", vm=domain.name, host=host.name)

        self._change("abort_job", uuid, abort)

    def suspend(self, uuid: UUID) -> None:
        """Pause the VM's CPUs; during a move the reason is `migration`, as libvirt writes it."""

        def suspend(host: SimHost) -> None:
            domain = self._find_active(host, uuid)
            if domain.is_on_cpu:
                domain.state = DomainState.PAUSED
                domain.reason = "migrating" if domain.job == "migration out" else "user"
            flight = self._ground.flight_of(uuid, host.name)
            if flight is not None and flight.source is host:
                flight.steer(self._ground.seconds, Precopy.stop)

        self._change("suspend", uuid, suspend)

    def start_postcopy(self, flight: Flight) -> None:
        """Switch to post-copy; refused for a job that was not begun so, and when the switch-over has begun."""

        def start(host: SimHost) -> None:
            name = flight.plan.vm
            if flight.plan.switch is not Switch.POSTCOPY:
                raise PermanentError(f"vm {name}: post-copy can only be started while outgoing migration is active")
            if self._find_active(host, flight.plan.uuid).job is None or not flight.start_postcopy(self._ground.seconds):
                raise PermanentError(f"vm {name}: no job active on {host.name} that may be switched", vm=name)

        self._change("start_postcopy", flight.plan.uuid, start)

    def cancel(self, flight: Flight) -> None:
        """Abort a move of our own that has not come to its switch-over."""
        with self._ground.lock:
            flight.strike(Blow.ABORTED, End.BOTH, self._ground.seconds)

    def steer(self, op: str, flight: Flight, change: Callable[[Precopy], None]) -> None:
        """Change a running job, as migrateSetMaxDowntime and migrateSetMaxSpeed do."""
        uuid = flight.plan.uuid

        def steer(host: SimHost) -> None:
            if self._find_active(host, uuid).job is None:
                raise PermanentError(f"vm {flight.plan.vm}: no job active on {host.name}", vm=flight.plan.vm)
            flight.steer(self._ground.seconds, change)

        self._change(op, uuid, steer)

    def _follow(self, flight: Flight, on_progress: OnProgress, steering: Steering) -> JobStats:
        """Wait for a flight phase by phase, so that faults can strike inside the move."""
        ground = self._ground
        starts, still = ground.daemon_starts.get(self.host), Stillness()
        for phase in (Phase.MEMORY, Phase.SWITCH, Phase.ARRIVED, Phase.POSTCOPY, Phase.OVER):
            while flight.phase < phase:
                with ground.lock:
                    self._check_connection(flight, starts)
                    at = flight.next_at()
                    ground.advance(TICK_S if at is None else min(TICK_S, max(0.0, at - ground.seconds)))
                    stats, elapsed_s = flight.stats(ground.seconds), ground.seconds - flight.started_s
                if flight.is_broken or still.is_too_long(stats, ground.seconds):
                    raise _unknown(flight, flight.error or "no byte was sent in post-copy")
                if flight.phase < Phase.SWITCH:
                    steering.take(stats, elapsed_s)
                on_progress(stats)
            if flight.phase is phase and phase is not Phase.OVER:
                word = PHASE_WORDS[phase]
                inner = self._operation("migrate", flight.plan.uuid, is_write=True, phase=word, peer=flight.dest.name)
                self._call(inner, lambda: None)
        self._check_connection(flight, starts)
        if flight.error:
            raise _unknown(flight, steering.abort_reason or flight.error)
        return flight.stats(ground.seconds)

    def _check_connection(self, flight: Flight, starts: int | None) -> None:
        try:
            self._ground.reach(self.host, libvirt=True)
        except HostUnreachable as error:
            raise _unknown(flight, f"connection to {self.host} lost (ERR 38)") from error
        if self._ground.daemon_starts.get(self.host) != starts:
            raise _unknown(flight, f"libvirtd of {self.host} was restarted (ERR 38)")

    def _has_job(self, uuid: UUID) -> bool:
        """Whether a job is seen here; a host that does not answer shows none, as with the real adapter."""
        try:
            domain = self._ground.reach(self.host, libvirt=True).domains.get(uuid)
        except HostUnreachable:
            return False
        return domain is not None and domain.job is not None

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
            raise NotFound(f"vm {uuid}: no such domain on {host.name}; look with `virsh list --all`", host=host.name)
        return domain

    def _find_active(self, host: SimHost, uuid: UUID) -> SimDomain:
        domain = self._find(host, uuid)
        if not domain.is_active:
            raise PermanentError(f"vm {domain.name}: not running on {host.name}", vm=domain.name, host=host.name)
        return domain


def _unknown(flight: Flight, detail: str) -> OutcomeUnknown:
    source, dest = flight.source.name, flight.dest.name
    return OutcomeUnknown(
        f"vm {flight.plan.vm}: {detail}; look with `virsh list --all` on {source} and {dest}",
        vm=flight.plan.vm,
        host=source,
    )
