"""Network devices: captured output of iproute2 (data/NOTICE), and what this machine's kernel cannot show, by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from vmferry.adapters.ssh_links import parse_links, parse_speeds, parse_traffic
from vmferry.model.facts import Link

DATA = Path(__file__).parent / "data"
JSON, TEXT = ((DATA / name).read_text(encoding="utf-8") for name in ("ip-address.json", "ip-text.txt"))
NOTHING = ("", "")

# Debian 12, Linux 6.18: `cat /proc/net/dev` below the time, twice; blanks squeezed;
# eth0 received 1 MiB and sent 2 MiB in between.
BEFORE = """1795450000.000000000
Inter-| Receive | Transmit
 face |bytes packets errs drop fifo frame compressed multicast|bytes packets errs drop fifo colls carrier compressed
    lo: 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0
  eth0: 516 6 0 0 0 0 0 0 516 6 0 0 0 0 0 0
"""
AFTER = """1795450000.500000000
Inter-| Receive | Transmit
 face |bytes packets errs drop fifo frame compressed multicast|bytes packets errs drop fifo colls carrier compressed
    lo: 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0
  eth0: 1049092 900 0 0 0 0 0 0 2097668 900 0 0 0 0 0 0
  new0: 90 1 0 0 0 0 0 0 90 1 0 0 0 0 0 0
"""


def by_name(shown: str, speeds: str = "") -> dict[str, Link]:
    return {link.name: link for link in parse_links(shown, speeds, NOTHING)}


def by_hand(**device: Any) -> str:
    """One device in the form of `ip -json -details address show`."""
    given = {"ifname": "x0", "flags": ["BROADCAST", "UP", "LOWER_UP"], "mtu": 1500, "addr_info": []}
    return json.dumps([{**given, **device}])


@pytest.mark.parametrize("shown", [JSON, TEXT], ids=["json", "text"])
def test_devices_are_read_with_kind_mtu_master_and_addresses(shown: str) -> None:
    links = by_name(shown)
    assert [*links] == [
        *("lo", "far0", "eth0", "br0", "far1", "eth1", "dead", "far2", "eth2", "empty", "far4", "eth4"),
        *("off", "vx", "mv0", "vnet0"),
    ]
    assert links["br0"] == Link(
        name="br0",
        kind="bridge",
        mtu=9000,
        is_up=True,
        mac="52:54:00:aa:00:02",
        addresses=("10.8.0.1/24", "fe80::5054:ff:feaa:2/64"),
    )
    assert (links["eth1"].kind, links["eth1"].master, links["eth1"].mtu) == ("veth", "br0", 1500)
    assert [links[name].kind for name in ("lo", "vx", "mv0", "vnet0")] == ["", "vxlan", "macvtap", "tun"]
    assert (links["lo"].mac, links["lo"].addresses) == (None, ("127.0.0.1/8", "::1/128"))


@pytest.mark.parametrize("shown", [JSON, TEXT], ids=["json", "text"])
def test_a_bridge_is_down_when_all_that_is_plugged_into_it_is_dead_not_when_nothing_is(shown: str) -> None:
    links = by_name(shown)
    assert {n: links[n].is_up for n in ("br0", "dead", "empty", "off")} == {
        "br0": True,
        "dead": False,
        "empty": True,
        "off": False,
    }
    assert {n: links[n].is_up for n in ("eth0", "eth2", "far2")} == {"eth0": True, "eth2": False, "far2": False}


def test_both_forms_of_output_say_the_same() -> None:
    assert by_name(JSON) == by_name(TEXT)


def test_vlans_bonds_and_open_vswitch_are_told() -> None:
    """By hand, in the form of iproute2 6.1: this kernel has none of them."""
    vlan = by_hand(ifname="eth0.100", linkinfo={"info_kind": "vlan", "info_data": {"protocol": "802.1Q", "id": 100}})
    assert (by_name(vlan)["eth0.100"].kind, by_name(vlan)["eth0.100"].vlan_id) == ("vlan", 100)
    filtering = by_hand(linkinfo={"info_kind": "bridge", "info_data": {"vlan_filtering": 1, "id": 9}})
    assert (by_name(filtering)["x0"].has_vlan_filtering, by_name(filtering)["x0"].vlan_id) == (True, None)
    slave = by_hand(master="bond0", linkinfo={"info_slave_kind": "bond"})
    assert (by_name(slave)["x0"].kind, by_name(slave)["x0"].master) == ("", "bond0")
    assert by_name(by_hand(linkinfo={"info_kind": "openvswitch"}))["x0"].kind == "openvswitch"


def test_vlans_bonds_and_open_vswitch_are_told_from_text_too() -> None:
    """By hand, in the form of iproute2 4.11 (RHEL 7)."""
    head = "<BROADCAST,MULTICAST,UP,LOWER_UP> mtu 1500 qdisc noqueue"
    ether = "link/ether 52:54:00:00:00:01 brd ff:ff:ff:ff:ff:ff promiscuity 0"
    text = (
        f"5: eth0.100@eth0: {head} state UP \\    {ether} \\    vlan protocol 802.1Q id 100 <REORDER_HDR> \n"
        f"6: br0: {head} state UP \\    {ether} \\    bridge forward_delay 1500 vlan_filtering 1 group_fwd_mask 0 \n"
        f"7: eth1: {head} master bond0 state UP \\    {ether} \\    bond_slave state ACTIVE mii_status UP \n"
        f"8: ovs0: {head} state UNKNOWN \\    {ether} \\    openvswitch addrgenmode eui64 \n"
        "6: br0    inet 10.8.0.1/24 brd 10.8.0.255 scope global br0\\       valid_lft forever preferred_lft forever\n"
        "6: br0    inet6 fe80::1/64 scope link tentative \\       valid_lft forever preferred_lft forever\n"
        "8: ovs0    inet 10.9.0.1 peer 10.9.0.2/32 scope global ovs0\\       valid_lft forever preferred_lft forever\n"
    )
    links = by_name(text)
    assert {name: link.kind for name, link in links.items()} == {
        "eth0.100": "vlan",
        "br0": "bridge",
        "eth1": "",
        "ovs0": "openvswitch",
    }
    assert (links["eth0.100"].vlan_id, links["br0"].has_vlan_filtering, links["eth1"].master) == (100, True, "bond0")
    assert links["br0"].addresses == ("10.8.0.1/24",)
    assert links["ovs0"].addresses == ("10.9.0.1/32",)


def test_an_address_that_is_not_usable_is_no_address() -> None:
    """A tentative address answers nobody yet, one found twice (dadfailed) never does."""
    good = {"family": "inet", "local": "10.0.0.1", "prefixlen": 24}
    bad = [{"local": "fe80::1", "prefixlen": 64, flag: True} for flag in ("tentative", "dadfailed")]
    assert by_name(by_hand(addr_info=[good, *bad, {}]))["x0"].addresses == ("10.0.0.1/24",)


def test_empty_entries_of_old_iproute_are_passed_over() -> None:
    assert by_name(f"[{{}},{by_hand()[1:-1]}]").keys() == {"x0"}


def test_a_speed_is_known_only_where_the_device_has_one() -> None:
    text = "/sys/class/net/eth0/speed:25000\n/sys/class/net/br0/speed:-1\n/sys/class/net/odd.1/speed:100\n"
    assert parse_speeds(text) == {"eth0": 25000, "odd.1": 100}
    assert by_name(JSON, text)["eth0"].speed_mbit_s == 25000
    assert by_name(JSON, text)["br0"].speed_mbit_s is None


def test_traffic_is_that_of_the_busier_direction() -> None:
    assert parse_traffic(BEFORE, AFTER) == {"lo": 0.0, "eth0": pytest.approx(2097152 * 8 / 1e6 / 0.5, abs=0.01)}


def test_traffic_of_a_device_that_was_made_anew_is_unknown() -> None:
    assert "eth0" not in parse_traffic(AFTER, BEFORE.replace("1795450000.0", "1795450001.0"))
    assert parse_traffic("", AFTER) == {}
    assert parse_traffic(AFTER, AFTER) == {}
