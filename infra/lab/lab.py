"""A lab: libvirt hosts made of namespaces on this machine, and guests that beat."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from infra.lab import build
from infra.lab import down as downing
from infra.lab.guest import domain_xml
from infra.lab.host import LabHost
from infra.lab.hostfiles import BEATS
from infra.lab.inventory import inventory_text
from infra.lab.proc import LabError
from infra.lab.spec import GuestSpec, GuestState, LabSpec, pages_per_tick
from infra.lab.state import LabDir, LabState, lab_dir, list_labs, locked
from infra.lab.storage import make_disk, outer_disk_path
from infra.lab.watch import Heartbeat, Watch, read_heartbeat

UNREACHABLE = "unreachable"


class Lab:
    """A running lab. Get one with Lab.up or Lab.load."""

    def __init__(self, directory: LabDir, state: LabState) -> None:
        self.directory = directory
        self._state = state
        numbers = range(1, len(state.spec.hosts) + 1)
        self.hosts: dict[str, LabHost] = {
            host.name: host for host in (LabHost(directory, state, number) for number in numbers)
        }

    # -- life

    @classmethod
    def up(cls, spec: LabSpec) -> Lab:
        """Bring a lab up, or repair it: start hosts without power, daemons and guests that do not run.

        A lab that is there keeps its hosts; a spec with other hosts is refused, new guests are added.
        """
        need_root()
        directory = lab_dir(spec.name)
        with locked(spec.name):
            lab = cls(directory, build.claim(directory, spec))
            lab._save(build.raise_hosts(directory, lab._state, list(lab.hosts.values())))
            lab.inventory_path.write_text(inventory_text(directory, lab._state, list(lab.hosts.values())))
            lab._raise_guests()
        return lab

    @classmethod
    def load(cls, name: str) -> Lab:
        """Take hold of a lab that is there; changes nothing."""
        need_root()
        directory = lab_dir(name)
        if (state := directory.read_state()) is None:
            raise LabError(f"there is no lab {name}; `vmferry lab up --name {name}` makes it")
        if state.spec.machines is not None:
            raise LabError(f"lab {name} is one of whole machines: MachineLab.load takes it")
        return cls(directory, state)

    @staticmethod
    def names() -> list[str]:
        """List the labs on this machine, those that are half made or half gone included."""
        return list_labs()

    def down(self) -> None:
        """Remove the lab and everything it made."""
        take_down(self.name)

    def _raise_guests(self) -> None:
        """Add the guests that are nowhere, and start those that should run and are shut off."""
        where = self.where_all()
        with ThreadPoolExecutor(max_workers=max(2, os.cpu_count() or 1)) as pool:
            futures = [pool.submit(self._raise_guest, one, where[one.name]) for one in self.guests.values()]
            for future in futures:
                future.result()

    def _raise_guest(self, guest: GuestSpec, seen: dict[str, str]) -> None:
        if not seen:
            self._create(guest)
        elif guest.state is not GuestState.SHUTOFF and list(seen.values()) == ["shut off"]:
            self.hosts[next(iter(seen))].virsh("start", guest.name, *_paused(guest))

    def _save(self, state: LabState) -> None:
        self._state = state
        self.directory.write_state(state)

    # -- what there is

    @property
    def name(self) -> str:
        """Give the lab's name."""
        return self.directory.name

    @property
    def spec(self) -> LabSpec:
        """Give the spec, with the guests added since."""
        return self._state.spec

    @property
    def guests(self) -> dict[str, GuestSpec]:
        """Give the guests by name."""
        return {guest.name: guest for guest in self._state.spec.guests}

    @property
    def kvm(self) -> bool:
        """Tell whether guests run under KVM (else under QEMU's emulation)."""
        return bool(self._state.kvm)

    @property
    def subnet(self) -> str:
        """Give the lab's network."""
        return f"10.77.{self._state.index}.0/24"

    @property
    def inventory_path(self) -> Path:
        """Give the inventory file for vmferry."""
        return self.directory.path / "inventory.yaml"

    @property
    def ssh_config(self) -> Path:
        """Give the OpenSSH client configuration for the outside."""
        return self.directory.path / "ssh_config"

    @property
    def known_hosts(self) -> Path:
        """Give the hosts' keys, by name and by address."""
        return self.directory.ssh / "known_hosts"

    # -- guests

    def add_guest(self, guest: GuestSpec) -> None:
        """Make a guest: its disk, its definition, and the state it is to have."""
        with locked(self.name):
            self._refresh()
            if guest.name in self.guests:
                raise LabError(f"guest {guest.name} is there already")
            if guest.host not in self.hosts:
                raise LabError(f"there is no host {guest.host}")
            self._save_guests((*self.spec.guests, guest))
        self._create(guest)

    def _create(self, guest: GuestSpec) -> None:
        host = self.hosts[guest.host]
        make_disk(self.directory, self.spec, guest)
        xml = domain_xml(guest, kvm=self.kvm)
        if guest.transient:
            host.virsh("create", "/dev/stdin", *_paused(guest), input=xml)
            return
        host.virsh("define", "/dev/stdin", input=xml)
        if guest.autostart:
            host.virsh("autostart", guest.name)
        if guest.state is not GuestState.SHUTOFF:
            host.virsh("start", guest.name, *_paused(guest))

    def remove_guest(self, name: str) -> None:
        """Remove a guest, its disk and its heartbeats from every host that has power."""
        with locked(self.name):
            self._refresh()
            if (guest := self.guests.get(name)) is None:
                raise LabError(f"there is no guest {name}")
            for host, state in self.where(name).items():
                if state == UNREACHABLE:
                    raise LabError(f"libvirtd on {host} does not answer, so {name} may be there; start it first")
                if state != "shut off":
                    self.hosts[host].virsh("destroy", name)
                self.hosts[host].run(["virsh", "-q", "undefine", name], check=False)
            for host in self.hosts:
                self.beat_file(name, host).unlink(missing_ok=True)
                if (disk := outer_disk_path(self.directory, self.spec, guest, host)) is not None:
                    disk.unlink(missing_ok=True)
            self._save_guests(tuple(one for one in self.spec.guests if one.name != name))

    def _save_guests(self, guests: tuple[GuestSpec, ...]) -> None:
        spec = self.spec.model_copy(update={"guests": guests})
        self._save(self._state.model_copy(update={"spec": spec}))

    def _refresh(self) -> None:
        if (state := self.directory.read_state()) is None:
            raise LabError(f"lab {self.name} is gone")
        self._state = state

    def set_rate(self, guest: str, mib_s: float, *, host: str | None = None) -> None:
        """Change how fast a running guest dirties memory; it takes effect within about half a second."""
        hz = self.guests[guest].hz
        digits = str(pages_per_tick(mib_s, hz))
        keys = [f"KEY_{digit}" for digit in digits] + ["KEY_ENTER"]
        host = host or self.running_on(guest)
        # One virsh for all; a short hold, because the keyboard's queue is short.
        self.hosts[host].virsh("; ".join(f"send-key {guest} --holdtime 20 {key}" for key in keys))

    def where_all(self) -> dict[str, dict[str, str]]:
        """Read on which hosts each of the lab's guests is and in what state."""
        listed = self._list_hosts()
        return {guest: _pick(listed, guest) for guest in self.guests}

    def where(self, guest: str) -> dict[str, str]:
        """Read on which hosts a domain is: {host: running, paused, shut off, … or unreachable}.

        Hosts without power and hosts that do not have it are left out; "unreachable" is a host that has power
        and whose libvirtd does not answer.
        """
        return _pick(self._list_hosts(), guest)

    def _list_hosts(self) -> dict[str, dict[str, str] | None]:
        up = [host for host in self.hosts.values() if host.is_up]
        with ThreadPoolExecutor(max_workers=8) as pool:
            return dict(zip((host.name for host in up), pool.map(_list_or_none, up), strict=True))

    def running_on(self, guest: str) -> str:
        """Give the one host on which a guest runs; raise when it runs on none or on two."""
        seen = self.where(guest)
        found = [host for host, state in seen.items() if state == "running"]
        if len(found) != 1:
            raise LabError(f"guest {guest} does not run on exactly one host: {seen or 'nowhere'}")
        return found[0]

    # -- heartbeats

    def beat_file(self, guest: str, host: str) -> Path:
        """Give the file, on the machine, in which a guest's copy on one host beats."""
        return self.hosts[host].outer_path(f"{BEATS}/{guest}.log")

    def heartbeats(self, guest: str) -> dict[str, Heartbeat]:
        """Read the last heartbeat of each host's copy of a guest; hosts where it never beat are left out."""
        found = {host: read_heartbeat(self.beat_file(guest, host)) for host in self.hosts}
        return {host: beat for host, beat in found.items() if beat is not None}

    def watch(self, guest: str, *, interval_s: float = 0.005) -> Watch:
        """Watch a guest on all hosts: `with lab.watch("vm1") as seen: …`, then seen.longest_gap_s."""
        return Watch({host: self.beat_file(guest, host) for host in self.hosts}, interval_s=interval_s)


def _paused(guest: GuestSpec) -> tuple[str, ...]:
    return ("--paused",) if guest.state is GuestState.PAUSED else ()


def _pick(listed: dict[str, dict[str, str] | None], guest: str) -> dict[str, str]:
    found = {host: UNREACHABLE if domains is None else domains.get(guest) for host, domains in listed.items()}
    return {host: state for host, state in found.items() if state is not None}


def _list_or_none(host: LabHost) -> dict[str, str] | None:
    try:
        return host.list_domains()
    except LabError:
        return None


def need_root() -> None:
    """Refuse to go on without root."""
    if os.geteuid() != 0:
        raise LabError("a lab needs root, for namespaces and mounts: run this with sudo")


def take_down(name: str) -> bool:
    """Remove a lab by name, in whatever state it is; tell whether there was anything."""
    need_root()
    return downing.take_down(name)
