"""CloudSim's hosts and VMs: two servers with their SPECpower curves, four sizes of VMs, the first placement."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

HOSTS = 800
# HP ProLiant ML110 G4 and G5 in turn: two cores each, watts at 0, 10 … 100 % (SPECpower_ssj2008).
IS_G5 = np.arange(HOSTS) % 2 == 1
CORE_MIPS = np.where(IS_G5, 2660.0, 1860.0)
HOST_MIPS = 2 * CORE_MIPS
HOST_MB = 4096.0
WATTS_G4 = (86.0, 89.4, 92.6, 96.0, 99.5, 102.0, 106.0, 108.0, 112.0, 114.0, 117.0)
WATTS_G5 = (93.7, 97.0, 101.0, 105.0, 110.0, 116.0, 121.0, 125.0, 129.0, 133.0, 135.0)
_SHARES = np.linspace(0, 1, 11)
_MBIT = 1000  # per host; a VM has 100 of them
VM_MIPS = np.array([2500.0, 2000.0, 1000.0, 500.0])  # one core each: what a host's core lacks, nobody gets
VM_MB = np.array([870.0, 1740.0, 1740.0, 613.0])
# Half of a gigabit carries a migration (CloudSim: RAM ÷ (bandwidth ÷ 16,000)).
MOVE_MB_S = 62.5


def watts(shares: Floats) -> Floats:
    """Return what each host draws when it is on and this share of it is used."""
    return np.where(IS_G5, np.interp(shares, _SHARES, WATTS_G5), np.interp(shares, _SHARES, WATTS_G4))


def kinds(vms: int) -> Ints:
    """Return the size of each VM: a quarter of them each."""
    return np.arange(vms) // math.ceil(vms / len(VM_MIPS))


def first_placement(kind: Ints) -> Ints:
    """Return the host of each VM: the first with a core fast enough, and all of its MIPS, memory and bandwidth free."""
    mips, memory, mbit = HOST_MIPS.copy(), np.full(HOSTS, HOST_MB), np.full(HOSTS, _MBIT)
    where = np.zeros(len(kind), np.int64)
    for vm, size in enumerate(kind):
        fits = (VM_MIPS[size] <= CORE_MIPS) & (mips >= VM_MIPS[size]) & (memory >= VM_MB[size]) & (mbit >= 100)
        host = where[vm] = int(np.argmax(fits))
        mips[host] -= VM_MIPS[size]
        memory[host] -= VM_MB[size]
        mbit[host] -= 100
    return where
