"""libvirt of one simulated host: the Hypervisor port, with libvirt 9.0's measured behaviour."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from vmferry.adapters.simulated.facts import host_facts
from vmferry.adapters.simulated.faults import Blow
from vmferry.adapters.simulated.migration import SimulatedMigration
from vmferry.adapters.simulated.offer import compare_cpu
from vmferry.adapters.simulated.state import SimDomain, SimHost
from vmferry.adapters.simulated.texts import read_text
from vmferry.adapters.simulated.usage import host_counters
from vmferry.domxml.marks import drop_mark, marks_of, put_mark
from vmferry.errors import HostBusy, OutcomeUnknown, PermanentError, VmferryError
from vmferry.model.facts import CpuFit, CpuVerdict, GuestCpu
from vmferry.model.host import HostFacts
from vmferry.model.mark import VmMark
from vmferry.model.sighting import Sighting
from vmferry.model.usage import HostCounters
from vmferry.model.vm import DomainState

LOCK_WAIT_S = 30.0


class SimulatedHypervisor(SimulatedMigration):
    """One host's libvirt."""

    # reads

    def read_host(self) -> HostFacts:
        """Read the host and its domains."""
        return self._ask("read_host", "", lambda host: host_facts(host, self._ground.now()), is_write=False)

    def read_counters(self) -> HostCounters:
        """Read the counters of the host and its running VMs."""
        ground = self._ground
        return self._ask(
            "read_counters", "", lambda host: host_counters(host, ground.now(), ground.seconds), is_write=False
        )

    def compare_cpus(self, cpus: Sequence[GuestCpu]) -> dict[str, CpuVerdict]:
        """Tell of each guest CPU whether this host can run it."""

        def compare(host: SimHost) -> dict[str, CpuVerdict]:
            return {cpu.key: _verdict(host, cpu) for cpu in cpus}

        return self._ask("compare_cpus", "", compare, is_write=False)

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
            if domain is None:
                return
            if domain.is_active:  # libvirt would make it transient; vmferry's adapter refuses
                raise OutcomeUnknown(
                    f"vm {domain.name}: active on {host.name}, not undefined", vm=domain.name, host=host.name
                )
            del host.domains[uuid]

        self._change("undefine", uuid, undefine)

    def set_autostart(self, uuid: UUID, is_autostart: bool) -> None:
        """Set the autostart flag."""

        def set_flag(host: SimHost) -> None:
            domain = self._find(host, uuid)
            if domain.persistent_xml is None:
                raise PermanentError(f"vm {domain.name}: transient, no autostart", vm=domain.name, host=host.name)
            domain.is_autostart = is_autostart

        self._change("set_autostart", uuid, set_flag)

    # marks

    def mark(self, uuid: UUID, mark: VmMark) -> tuple[VmMark, ...]:
        """Write a run's mark into both definitions; return all marks that are there afterwards."""

        def write(host: SimHost) -> tuple[VmMark, ...]:
            domain = self._unlocked(host, uuid)
            domain.live_xml = domain.live_xml and put_mark(domain.live_xml, mark)
            domain.persistent_xml = domain.persistent_xml and put_mark(domain.persistent_xml, mark)
            return marks_of(domain.xml())

        return self._ask("mark", uuid, write, is_write=True)

    def unmark(self, uuid: UUID, run: str) -> None:
        """Take a run's mark away; no-op when mark or domain is gone."""

        def take(host: SimHost) -> None:
            if uuid not in host.domains:
                return
            domain = self._unlocked(host, uuid)
            domain.live_xml = domain.live_xml and drop_mark(domain.live_xml, run)
            domain.persistent_xml = domain.persistent_xml and drop_mark(domain.persistent_xml, run)

        self._ask("unmark", uuid, take, is_write=True)

    def _unlocked(self, host: SimHost, uuid: UUID) -> SimDomain:
        """Return the domain once no job holds it; HostBusy where that does not come in time."""
        self._wait_for_lock(self._find(host, uuid))
        domain = self._find(host, uuid)
        if domain.job is not None:
            raise HostBusy(f"vm {domain.name}: {domain.job} on {host.name}", vm=domain.name, host=host.name)
        return domain

    # running

    def resume(self, uuid: UUID) -> None:
        """Let a paused VM run."""

        def resume(host: SimHost) -> None:
            self._wait_for_lock(self._find_active(host, uuid))
            domain = self._find_active(host, uuid)
            if domain.state is not DomainState.PAUSED:
                raise PermanentError(
                    f"vm {domain.name}: {domain.state} on {host.name}, not paused",
                    vm=domain.name,
                    host=host.name,
                )
            if domain.job is not None:
                raise HostBusy(f"vm {domain.name}: {domain.job} on {host.name}", vm=domain.name, host=host.name)
            self._check_locks(host, domain)
            domain.state, domain.reason = DomainState.RUNNING, "unpaused"

        self._change("resume", uuid, resume)

    def shut_down(self, uuid: UUID) -> None:
        """Ask the guest to shut itself down."""

        def ask(host: SimHost) -> None:
            domain = self._find(host, uuid)
            if domain.is_on_cpu and domain.shutdown_s is not None:
                self._ground.stop_later(host, domain, domain.shutdown_s)

        self._change("shut_down", uuid, ask)

    def start(self, uuid: UUID) -> None:
        """Start a VM that is shut off."""

        def start(host: SimHost) -> None:
            domain = self._find(host, uuid)
            if domain.is_active:
                return
            self._check_locks(host, domain)
            self._ground.start(host, domain)

        self._change("start", uuid, start)

    def ping_agent(self, uuid: UUID) -> bool:
        """Whether the guest's agent answers."""

        def ping(host: SimHost) -> bool:
            domain = self._find(host, uuid)
            return domain.is_on_cpu and domain.is_agent_alive

        return self._ask("ping_agent", uuid, ping, is_write=False)

    def destroy(self, uuid: UUID) -> None:
        """End the VM's QEMU at once; no-op when it is not active."""

        def destroy(host: SimHost) -> None:
            domain = host.domains.get(uuid)
            if domain is not None and domain.is_active:
                self._ground.end_guest(host, domain, "destroyed", Blow.QEMU_KILLED)

        self._change("destroy", uuid, destroy)

    def _wait_for_lock(self, domain: SimDomain) -> None:
        """Wait as libvirt does for the job that holds the domain: 30 s, then it gives up (ERR 68)."""
        end = self._ground.seconds + LOCK_WAIT_S
        while domain.job is not None and self._ground.seconds < end:
            self._ground.advance(0.1)

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


def _verdict(host: SimHost, cpu: GuestCpu) -> CpuVerdict:
    """Compare a guest CPU where QEMU has its architecture, accelerator and machine type at all."""
    offered = (
        (cpu.arch, (host.arch,), "architecture"),
        (cpu.domain_type, host.domain_types, "virttype"),
        (cpu.machine, (None, *host.machines), "machine"),
    )
    for asked, known, what in offered:
        if asked not in known:
            return CpuVerdict(fit=CpuFit.FAILED, detail=f"the {what} '{asked}' is not supported by QEMU of {host.name}")
    return compare_cpu(host.offer, cpu)
