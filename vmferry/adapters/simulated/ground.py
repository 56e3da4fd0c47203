"""The ground all simulated hosts stand on: time, links, moves in flight, and what can befall them."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from uuid import UUID

from vmferry.adapters.simulated.endings import End, Phase
from vmferry.adapters.simulated.faults import Blow, Fault, Gate, Operation
from vmferry.adapters.simulated.moves import Flight
from vmferry.adapters.simulated.state import CLIENT, SimDomain, SimHost
from vmferry.adapters.simulated.watch import Watch
from vmferry.errors import HostUnreachable
from vmferry.model.probes import Probe
from vmferry.model.roll import CommandDone
from vmferry.model.vm import DomainState


def _nothing(_host: str, _argv: tuple[str, ...]) -> CommandDone:
    return CommandDone(exit_code=0)


START = datetime(2025, 1, 1, tzinfo=UTC)


class Ground:
    """Hosts, time and disasters; every method is safe to call from several threads."""

    def __init__(self) -> None:
        self.hosts: dict[str, SimHost] = {}
        self.flights: list[Flight] = []
        self.command: Callable[[str, tuple[str, ...]], CommandDone] = _nothing  # what operators' commands do
        self.guests: Callable[[Probe], str] = lambda _probe: ""  # what is wrong with what guests say
        self.booting: list[tuple[float, str]] = []  # hosts that reboot, and when they are back
        self.stopping: list[tuple[float, SimHost, SimDomain]] = []  # guests that shut down, and when they are off
        self.seconds = 0.0
        self.lock = threading.RLock()
        self.links_down: set[frozenset[str]] = set()
        self.path_mtus: dict[frozenset[str], int] = {}
        self.daemon_starts: dict[str, int] = {}
        self.gate = Gate(self.now, self._strike)
        self.watch = Watch(self.hosts, self.now, self._during)

    # time

    def now(self) -> datetime:
        """Return the simulated time, UTC."""
        return START + timedelta(seconds=self.seconds)

    def advance(self, seconds: float) -> None:
        """Let time pass; moves in flight go on."""
        with self.lock:
            end = self.seconds + max(0.0, seconds)
            self._stop_guests(end)
            self._boot_hosts(end)
            while (flight := self._next_flight(end)) is not None:
                self.seconds = max(self.seconds, flight.next_at() or 0.0)
                with self.watch.blaming(flight.cause):
                    flight.play()
                    self.watch.look(flight.plan.uuid)
                if flight.phase is Phase.OVER:
                    self.flights.remove(flight)
            self.seconds = end

    def stop_later(self, host: SimHost, domain: SimDomain, seconds: float) -> None:
        """Let a guest shut itself down; it is off after so many seconds."""
        self.stopping.append((self.seconds + seconds, host, domain))

    def reboot(self, name: str) -> None:
        """Let a host go down, with all that runs on it, and come back after its time."""
        with self.lock:
            self.cut_power(name)
            wait_s = self.hosts[name].reboot_s
            if wait_s is not None:
                self.booting.append((self.seconds + wait_s, name))

    def _boot_hosts(self, until: float) -> None:
        for item in [item for item in self.booting if item[0] <= until]:
            self.booting.remove(item)
            self.power_on(item[1])

    def _stop_guests(self, until: float) -> None:
        for item in [item for item in self.stopping if item[0] <= until]:
            self.stopping.remove(item)
            _, host, domain = item
            if host.domains.get(domain.uuid) is domain and domain.is_active and domain.job is None:
                with self.watch.blaming("it was asked to shut down"):
                    host.end_qemu(domain, "shutdown")
                    self.watch.look(domain.uuid)

    def _next_flight(self, end: float) -> Flight | None:
        due = [(at, i) for i, f in enumerate(self.flights) if (at := f.next_at()) is not None and at <= end]
        return self.flights[min(due)[1]] if due else None

    def flight_of(self, uuid: UUID, host: str) -> Flight | None:
        """Return the move in flight that takes part on `host`."""
        return next((f for f in self.flights if f.plan.uuid == uuid and host in (f.source.name, f.dest.name)), None)

    # who reaches whom

    def is_linked(self, one: str, other: str) -> bool:
        """Whether packets pass between two machines that have power."""
        ends = [self.hosts[name] for name in (one, other) if name != CLIENT]
        return frozenset((one, other)) not in self.links_down and all(host.is_powered for host in ends)

    def path_mtu(self, one: str, other: str) -> int:
        """Return the size of the largest packet that passes between two hosts."""
        return self.path_mtus.get(frozenset((one, other)), 1 << 16)

    def reach(self, name: str, *, libvirt: bool) -> SimHost:
        """Return a host that answers vmferry; raises HostUnreachable after the time that takes."""
        host = self.hosts[name]
        if not self.is_linked(CLIENT, name):
            self.advance(5)
            raise HostUnreachable(f"{name}: no answer in 5 s; check the host and the network", host=name)
        if libvirt and not host.is_libvirtd_up:
            raise HostUnreachable(f"{name}: libvirtd does not answer; start it there", host=name)
        return host

    # disasters

    def cut_power(self, name: str) -> None:
        """Cut a host's power: its QEMUs end, transient domains are gone."""
        with self.lock, self.watch.blaming(f"power cut of {name}"):
            host = self.hosts[name]
            host.is_powered, host.is_libvirtd_up = False, False
            self._upset(name, Blow.POWER_CUT)
            for domain in [d for d in host.domains.values() if d.is_active]:
                host.end_qemu(domain, "")
                self.watch.look(domain.uuid)

    def power_on(self, name: str) -> None:
        """Boot a host: libvirtd starts, and with it the domains marked autostart."""
        with self.lock:
            host = self.hosts[name]
            if host.is_powered:
                return
            host.is_powered = True
            host.boots += 1
            self.start_libvirtd(name)
            for domain in host.domains.values():
                if domain.is_autostart and not domain.is_active:
                    self.start(host, domain)

    def start(self, host: SimHost, domain: SimDomain) -> None:
        """Start a defined domain."""
        domain.live_xml, domain.id = domain.persistent_xml, host.give_id()
        domain.state, domain.reason = DomainState.RUNNING, "booted"
        self.watch.look(domain.uuid)

    def kill_libvirtd(self, name: str) -> None:
        """Kill libvirtd; the QEMUs go on, moves that it drove or served end."""
        with self.lock, self.watch.blaming(f"libvirtd killed on {name}"):
            self.hosts[name].is_libvirtd_up = False
            self._upset(name, Blow.LIBVIRTD_KILLED)

    def start_libvirtd(self, name: str) -> None:
        """Start libvirtd where the host has power."""
        with self.lock:
            self.hosts[name].is_libvirtd_up = self.hosts[name].is_powered
            self.daemon_starts[name] = self.daemon_starts.get(name, 0) + 1
            self.advance(0)

    def cut_link(self, one: str, other: str = CLIENT) -> None:
        """Let no packet pass between two hosts, or between a host and vmferry."""
        with self.lock:
            self.links_down.add(frozenset((one, other)))
            for flight in list(self.flights):
                if {flight.source.name, flight.dest.name} == {one, other}:
                    self._change(flight, Blow.LINK_DOWN, End.BOTH)

    def kill_qemu(self, name: str, uuid: UUID) -> None:
        """Kill a VM's QEMU on one host."""
        with self.lock, self.watch.blaming(f"QEMU killed on {name}"):
            host, domain = self.hosts[name], self.hosts[name].domains.get(uuid)
            if domain is None or not domain.is_active:
                return
            self.end_guest(host, domain, "crashed", Blow.QEMU_KILLED)

    def end_guest(self, host: SimHost, domain: SimDomain, reason: str, blow: Blow) -> None:
        """End a domain's QEMU, and the move it takes part in."""
        flight = self.flight_of(domain.uuid, host.name)
        if flight is not None:
            end = End.SOURCE if flight.source is host else End.DEST
            self._change(flight, blow, end)
            self.advance(0)
        if host.domains.get(domain.uuid) is domain and domain.is_active:
            host.end_qemu(domain, reason)
        self.advance(0)
        self.watch.look(domain.uuid)

    def fill_disks(self, name: str) -> None:
        """Leave no free byte on the file systems of a host."""
        with self.lock:
            for space in self.hosts[name].mounts.values():
                space.capacity_bytes = sum(f.allocated_bytes for f in space.files.values())

    def heal(self) -> None:
        """Repair everything: power, links, daemons; faults that have not struck are forgotten."""
        with self.lock:
            self.gate.disarm()
            self.links_down.clear()
            for host in self.hosts.values():
                self.power_on(host.name)
                if not host.is_libvirtd_up:
                    self.start_libvirtd(host.name)
                for space in host.mounts.values():
                    space.capacity_bytes = max(space.capacity_bytes, 1024**4)

    # faults

    def _strike(self, fault: Fault, operation: Operation) -> None:
        target = fault.target or operation.host
        with self.lock, self.watch.blaming(str(fault.does)):
            match fault.does:
                case Blow.POWER_CUT:
                    self.cut_power(target)
                case Blow.ISOLATED:
                    self.cut_link(target)
                case Blow.LINK_DOWN:
                    self.cut_link(target, fault.peer or operation.peer)
                case Blow.LIBVIRTD_KILLED:
                    self.kill_libvirtd(target)
                case Blow.LIBVIRTD_RESTARTED:
                    self.kill_libvirtd(target)
                    self.start_libvirtd(target)
                case Blow.QEMU_KILLED:
                    self.kill_qemu(target, UUID(operation.subject))
                case Blow.DISK_FULL:
                    self.fill_disks(target)
                case _:
                    flight = self.flight_of(UUID(operation.subject), operation.host)
                    if flight is not None:
                        self._change(flight, fault.does, End.BOTH)

    def _upset(self, name: str, blow: Blow) -> None:
        for flight in list(self.flights):
            if name in (flight.source.name, flight.dest.name):
                end = End.SOURCE if flight.source.name == name else End.DEST
                self._change(flight, blow, end)
        self.advance(0)

    def _change(self, flight: Flight, blow: Blow, end: End) -> None:
        flight.strike(blow, end, self.seconds)
        flight.cause = self.watch.cause or flight.cause
        if flight.phase is Phase.OVER and flight in self.flights:
            self.flights.remove(flight)

    def _during(self) -> str:
        return self.gate.log[-1].title if self.gate.log else "building the fleet"
