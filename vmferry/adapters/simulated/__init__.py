"""A fleet in memory that behaves as measured libvirt does; `fleet.SimulatedFleet` is the door.

The contract suite (`tests/contract`) runs the same tests against it and against real libvirt.
"""

from vmferry.adapters.simulated.building import LOCAL, SHARED
from vmferry.adapters.simulated.faults import Blow, Fault, Operation, SimulatedCrash
from vmferry.adapters.simulated.files import FileSpace
from vmferry.adapters.simulated.fleet import SimulatedFleet, SimulatedWorld, host_entry
from vmferry.adapters.simulated.hypervisor import SimulatedHypervisor
from vmferry.adapters.simulated.state import CLIENT
from vmferry.adapters.simulated.tools import SimulatedTools
from vmferry.adapters.simulated.watch import Harm, Problem

__all__ = [
    "CLIENT",
    "LOCAL",
    "SHARED",
    "Blow",
    "Fault",
    "FileSpace",
    "Harm",
    "Operation",
    "Problem",
    "SimulatedCrash",
    "SimulatedFleet",
    "SimulatedHypervisor",
    "SimulatedTools",
    "SimulatedWorld",
    "host_entry",
]
