"""A lab of whole machines: made, repaired and removed like one of namespaces, and shown by the same commands."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from infra.lab import build, net
from infra.lab import down as downing
from infra.lab.guest import build_image, domain_xml
from infra.lab.hostfiles import BEATS, write_client
from infra.lab.lab import need_root
from infra.lab.machine.image import base_image, base_link
from infra.lab.machine.inventory import inventory_text
from infra.lab.machine.machine import Machine
from infra.lab.proc import LabError
from infra.lab.spec import DiskFormat, DiskKind, GuestSpec, GuestState, LabSpec, MachineSpec
from infra.lab.state import LabDir, LabState, lab_dir, locked
from infra.lab.storage import IMAGES

_BEAT = re.compile(r"T([0-9a-f]{8})R[0-9a-f]{8}P[0-9a-f]{8}E([0-9a-f]{8})")


class MachineLab:
    """A lab of whole machines. Get one with MachineLab.up or MachineLab.load."""

    def __init__(self, directory: LabDir, state: LabState) -> None:
        self.directory = directory
        self._state = state
        numbers = range(1, len(state.spec.hosts) + 1)
        self.hosts = {one.name: one for one in (Machine(directory, state, number) for number in numbers)}

    @classmethod
    def up(cls, spec: LabSpec) -> MachineLab:
        """Bring the machines up side by side, or those that have no power; return when all of them answer."""
        need_root()
        wanted = spec if spec.machines is not None else spec.model_copy(update={"machines": MachineSpec()})
        base_image()
        directory = lab_dir(spec.name)
        with locked(spec.name, timeout_s=600):
            lab = cls(directory, build.claim(directory, wanted))
            build_image(directory.image)
            net.make_bridge(lab._state.index, lab._state.token)
            write_client(directory, lab._state)
            lab.inventory_path.write_text(inventory_text(directory, lab._state, list(lab.hosts.values())))
            base_link(directory)
            with ThreadPoolExecutor(max_workers=8) as pool:
                list(pool.map(Machine.power_on, lab.hosts.values()))
        for guest in lab.spec.guests:
            if not lab.where(guest.name):
                lab.add_guest(guest)
        return lab

    @classmethod
    def load(cls, name: str) -> MachineLab:
        """Take hold of a lab that is there; changes nothing."""
        need_root()
        directory = lab_dir(name)
        state = directory.read_state()
        if state is None or state.spec.machines is None:
            raise LabError(
                f"there is no lab {name} of whole machines; `vmferry lab up --machines --name {name}` makes it"
            )
        return cls(directory, state)

    def down(self) -> None:
        """Remove the lab and everything it made; the disk that all machines start from is kept."""
        downing.take_down(self.name)

    @property
    def name(self) -> str:
        """Give the lab's name."""
        return self.directory.name

    @property
    def spec(self) -> LabSpec:
        """Give the spec."""
        return self._state.spec

    @property
    def subnet(self) -> str:
        """Give the lab's network."""
        return f"10.77.{self._state.index}.0/24"

    @property
    def inventory_path(self) -> Path:
        """Give the inventory file for vmferry."""
        return self.directory.path / "inventory.yaml"

    # -- guests: on their machine's own disk, or on none

    def add_guest(self, guest: GuestSpec) -> None:
        """Make a guest on its machine: its disk, its definition, and the state it is to have."""
        if guest.disk not in (DiskKind.NONE, DiskKind.LOCAL):
            raise LabError(f"guest {guest.name}: whole machines have disks of their own only (local), or none")
        host = self.hosts[guest.host]
        if guest.disk is DiskKind.LOCAL:
            path = f"{IMAGES}/{guest.name}.{guest.disk_format.value}"
            host.sh(_MAKE_DISK[guest.disk_format].format(path=path, data=guest.disk_data_mib, size=guest.disk_mib))
        host.virsh("define", "/dev/stdin", input=domain_xml(guest, kvm=False))
        if guest.autostart:
            host.virsh("autostart", guest.name)
        if guest.state is not GuestState.SHUTOFF:
            host.virsh("start", guest.name, *(("--paused",) if guest.state is GuestState.PAUSED else ()))

    def where(self, guest: str) -> dict[str, str]:
        """Read on which machines a domain is: {host: running, shut off, …}; those without power are left out."""
        up = [host for host in self.hosts.values() if host.is_up]
        found = {host.name: host.list_domains().get(guest) for host in up}
        return {host: state for host, state in found.items() if state is not None}

    def beats(self, guest: str, host: str) -> tuple[int, int]:
        """Read (ticks, lost pages) of a guest's copy on a machine; (0, 0) where it never beat."""
        text = self.hosts[host].run(["tail", "-c", "4096", f"{BEATS}/{guest}.log"], check=False).stdout
        found = _BEAT.findall(text)
        return (int(found[-1][0], 16), int(found[-1][1], 16)) if found else (0, 0)


def is_machine_lab(name: str) -> bool:
    """Whether the lab of that name is one of whole machines."""
    state = lab_dir(name).read_state()
    return state is not None and state.spec.machines is not None


_MAKE_DISK = {
    DiskFormat.RAW: (
        "head -c $(({data} << 20)) /dev/urandom >{path}.new; truncate -s {size}M {path}.new; mv {path}.new {path}"
    ),
    DiskFormat.QCOW2: (
        "head -c $(({data} << 20)) /dev/urandom >{path}.raw; truncate -s {size}M {path}.raw;"
        "qemu-img convert -q -f raw -O qcow2 {path}.raw {path}.new; rm {path}.raw; mv {path}.new {path}"
    ),
}
