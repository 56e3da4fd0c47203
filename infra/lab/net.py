"""The lab's private network: one bridge, and one veth pair for each host."""

from __future__ import annotations

import json
from pathlib import Path

from infra.lab.proc import LabError, run

MAX_LABS = 200
MAX_HOSTS = 40
MAX_GUEST_BRIDGES = 8


def bridge_name(index: int) -> str:
    """Name the bridge of lab number `index`."""
    return f"vf{index}br"


def link_name(index: int, number: int) -> str:
    """Name the outer end of the link of host `number`."""
    return f"vf{index}h{number}"


def guest_bridge_name(index: int, which: int) -> str:
    """Name the switch outside that joins the hosts' guest bridges number `which` to one layer-2 network."""
    return f"vf{index}g{which}"


def uplink_name(index: int, number: int, which: int) -> str:
    """Name the outer end of the cable between guest bridge `which` of host `number` and its switch."""
    return f"vf{index}h{number}g{which}"


def address(index: int, number: int) -> str:
    """Give the address of host `number`, counted from 1: 10.77.<index>.11, .12, …"""
    return f"10.77.{index}.{10 + number}"


def mac(token: str, number: int, which: int | None = None) -> str:
    """Derive an interface's hardware address from the lab's token; `which` for those of a guest bridge.

    It is set in the very call that makes the interface, so an interface of ours is known as ours from its
    first moment, even when `up` is killed right after.
    """
    parts = (token[0:2], token[2:4], token[4:6], token[6:8], f"{number:02x}")
    # Every first byte with these two last bits is a local, single address: one for each kind of interface.
    first = 0x02 if which is None else 0x06 + 4 * which
    return ":".join((f"{first:02x}", *parts))


def read_mac(device: str) -> str | None:
    """Read the hardware address of an interface; None when there is no such interface."""
    try:
        return Path(f"/sys/class/net/{device}/address").read_text().strip()
    except OSError:
        return None


def choose_index(claimed: set[int]) -> int:
    """Find the first network number that no lab claims and no interface uses; hold index_lock meanwhile."""
    shown = json.loads(run(["ip", "-json", "-4", "addr", "show"]).stdout)
    used = {entry["local"] for device in shown for entry in device.get("addr_info", ()) if "local" in entry}
    for index in range(MAX_LABS):
        if index in claimed or read_mac(bridge_name(index)) is not None:
            continue
        if not any(ip.startswith(f"10.77.{index}.") for ip in used):
            return index
    raise LabError(f"all {MAX_LABS} lab networks are in use")


def make_bridge(index: int, token: str) -> None:
    """Make the bridge with the outside address .254, unless it is there."""
    name = bridge_name(index)
    if read_mac(name) is None:
        run(["ip", "link", "add", name, "address", mac(token, 0), "type", "bridge"])
    run(["ip", "link", "set", name, "addrgenmode", "none", "up"])
    run(["ip", "addr", "replace", f"10.77.{index}.254/24", "dev", name])


def make_link(index: int, number: int, token: str, pid1: int) -> None:
    """Connect a host: one end on the bridge, the other in its network namespace as eth0."""
    name, inner = link_name(index, number), mac(token, 100 + number)
    remove_device(name, mac(token, number))
    peer = ["peer", "name", "eth0", "address", inner, "netns", str(pid1)]
    run(["ip", "link", "add", name, "address", mac(token, number), "type", "veth", *peer])
    run(["ip", "link", "set", name, "addrgenmode", "none", "master", bridge_name(index), "up"])
    inside = (
        f"ip link set lo up; ip link set eth0 addrgenmode none up; ip addr add {address(index, number)}/24 dev eth0"
    )
    run(["nsenter", "-t", str(pid1), "-n", "sh", "-ec", inside])


def make_tap(index: int, number: int, token: str) -> None:
    """Connect a whole machine: the card that its kernel opens, on the bridge."""
    name = link_name(index, number)
    remove_device(name, mac(token, number))
    # A tap takes its address only after it was made: one command, so that little can come between.
    made = f"ip tuntap add dev {name} mode tap && ip link set {name} address {mac(token, number)}"
    run(["sh", "-ec", made])
    run(["ip", "link", "set", name, "addrgenmode", "none", "master", bridge_name(index), "up"])


def make_switches(index: int, token: str, count: int) -> None:
    """Make the switches of the guest bridges, those that are not there."""
    for which in range(count):
        name = guest_bridge_name(index, which)
        if read_mac(name) is None:
            run(["ip", "link", "add", name, "address", mac(token, 0, which), "type", "bridge", "mcast_snooping", "0"])
        run(["ip", "link", "set", name, "addrgenmode", "none", "up"])


def make_guest_bridge(index: int, number: int, token: str, pid1: int, which: int, bridge: str) -> None:
    """Make a guest bridge inside a host and plug it into the switch of all hosts' bridges of that name.

    Its address is fixed: a bridge would take the lowest of its ports', and a guest's port comes and goes. It has an
    IPv6 link-local address, as bridges have where nobody turned it off.
    """
    switch, name = guest_bridge_name(index, which), uplink_name(index, number, which)
    remove_device(name, mac(token, number, which))
    up, inner = f"up{which}", mac(token, 100 + number, which)
    peer = ["peer", "name", up, "address", inner, "netns", str(pid1)]
    run(["ip", "link", "add", name, "address", mac(token, number, which), "type", "veth", *peer])
    run(["ip", "link", "set", name, "addrgenmode", "none", "master", switch, "up"])
    inside = (
        f"ip link add {bridge} address {mac(token, 150 + number, which)} type bridge mcast_snooping 0;"
        f"echo 0 >/proc/sys/net/ipv6/conf/{bridge}/accept_dad;"
        f"ip link set {up} addrgenmode none master {bridge} up; ip link set {bridge} addrgenmode eui64 up"
    )
    run(["nsenter", "-t", str(pid1), "-n", "sh", "-ec", inside])


def set_uplink(index: int, number: int, which: int, *, up: bool) -> None:
    """Put the cable of a host's guest bridge into its switch, or into none: it is a live cable all the same."""
    place = ["master", guest_bridge_name(index, which)] if up else ["nomaster"]
    run(["ip", "link", "set", uplink_name(index, number, which), *place])


def set_link(index: int, number: int, *, up: bool) -> None:
    """Plug or unplug a host's cable."""
    run(["ip", "link", "set", link_name(index, number), "up" if up else "down"])


def cap_link(index: int, number: int, pid1: int, mib_s: float | None) -> None:
    """Limit both directions of a host's link with a token bucket, or lift the limit."""
    sides = (
        ["tc", "qdisc", "{}", "dev", link_name(index, number), "root"],
        ["nsenter", "-t", str(pid1), "-n", "tc", "qdisc", "{}", "dev", "eth0", "root"],
    )
    for side in sides:
        if mib_s is None:
            run([word.format("del") for word in side], check=False)
            continue
        # The burst must hold one 64 KiB segment, or nothing passes at all.
        shape = ["tbf", "rate", f"{int(mib_s * 8 * 2**20)}bit", "burst", "256kb", "latency", "100ms"]
        run([word.format("replace") for word in side] + shape)


def remove_device(name: str, expected_mac: str) -> bool:
    """Delete an interface if it is there and ours; tell whether it was."""
    if read_mac(name) != expected_mac:
        return False
    run(["ip", "link", "del", name], check=False)
    return True


def remove_all(index: int, token: str) -> None:
    """Delete the lab's bridge and links, those that are there."""
    for number in range(1, MAX_HOSTS + 1):
        remove_device(link_name(index, number), mac(token, number))
        for which in range(MAX_GUEST_BRIDGES):
            remove_device(uplink_name(index, number, which), mac(token, number, which))
    remove_device(bridge_name(index), mac(token, 0))
    for which in range(MAX_GUEST_BRIDGES):
        remove_device(guest_bridge_name(index, which), mac(token, 0, which))
