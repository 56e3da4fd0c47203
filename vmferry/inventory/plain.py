"""`plain_networks`: on which networks `encryption: none` may send the memory of VMs as plain text."""

from __future__ import annotations

from ipaddress import ip_address, ip_network
from typing import Any

from vmferry.inventory.located import Json
from vmferry.inventory.problems import Problem
from vmferry.model.transport import Encryption
from vmferry.rules.encryption import is_inside

PLAIN_NETWORKS = "plain_networks"
_EXAMPLE = f"write for example {PLAIN_NETWORKS}: [10.20.0.0/24]"


def read_networks(value: Json, place: tuple[str, ...]) -> tuple[list[str], list[Problem]]:
    """Return the networks as the kernel writes them, or all problems."""
    if value is None:
        return [], []
    if not isinstance(value, list):
        return [], [Problem(path=place, text=f"{value!r} must be a list of networks; {_EXAMPLE}")]
    networks, problems = [], []
    for n, item in enumerate(value):
        try:
            network = ip_network(item) if isinstance(item, str) and "/" in item else None
        except ValueError as error:
            problems.append(Problem(path=(*place, str(n)), text=f"{error}; {_EXAMPLE}"))
            continue
        if network is None or network.prefixlen == 0:
            what = "is no network with its length" if network is None else "is every network there is"
            problems.append(Problem(path=(*place, str(n)), text=f"{item!r} {what}; {_EXAMPLE}"))
        else:
            networks.append(str(network))
    return networks, problems


def fill_networks(filled: dict[str, Any], everywhere: list[str], place: tuple[str, ...]) -> list[Problem]:
    """Give an entry the inventory's networks where it has none of its own, and check that `none` has one."""
    here = (*place, PLAIN_NETWORKS)
    networks, problems = read_networks(filled.get(PLAIN_NETWORKS), here)
    networks = networks if PLAIN_NETWORKS in filled else everywhere
    filled[PLAIN_NETWORKS] = networks
    address = filled.get("migration_address")
    if problems or filled.get("encryption") != Encryption.NONE or not isinstance(address, str):
        return problems
    if any(is_inside(address, network) for network in networks):
        return []
    text = (
        f"none sends the memory of VMs as plain text, and no network is allowed for that which holds "
        f"migration_address {address}; {_way_out(address)}; or write encryption: auto"
    )
    return [Problem(path=(*place, "encryption"), text=text)]


def _way_out(address: str) -> str:
    try:
        known = ip_address(address)
    except ValueError:
        return "write migration_address as an IP address of a private network, and that network into plain_networks"
    network = ip_network(f"{known}/{24 if known.version == 4 else 64}", strict=False)
    return f"where that network is private, write at the top of the file `{PLAIN_NETWORKS}: [{network}]`"
