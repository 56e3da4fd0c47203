"""What vmferry needs of the outside, as Protocols; adapters and the simulated fleet implement them."""

from vmferry.ports.hypervisor import Hypervisor, OnOrder, OnProgress
from vmferry.ports.tools import PLAIN_COPY, HostTools, OnCopy
from vmferry.ports.world import Clock, Journal, UsageStore, World

__all__ = [
    "PLAIN_COPY",
    "Clock",
    "HostTools",
    "Hypervisor",
    "Journal",
    "OnCopy",
    "OnOrder",
    "OnProgress",
    "UsageStore",
    "World",
]
