"""Real libvirt hosts on one machine, made of namespaces, with guests that need no operating system."""

from infra.lab.host import LabHost
from infra.lab.lab import Lab, take_down
from infra.lab.machine.lab import MachineLab
from infra.lab.machine.machine import Machine
from infra.lab.proc import LabError
from infra.lab.spec import Accel, DiskFormat, DiskKind, GuestSpec, GuestState, HostSpec, LabSpec, MachineSpec
from infra.lab.watch import Heartbeat, Spell, Watch

__all__ = [
    "Accel",
    "DiskFormat",
    "DiskKind",
    "GuestSpec",
    "GuestState",
    "Heartbeat",
    "HostSpec",
    "Lab",
    "LabError",
    "LabHost",
    "LabSpec",
    "Machine",
    "MachineLab",
    "MachineSpec",
    "Spell",
    "Watch",
    "take_down",
]
