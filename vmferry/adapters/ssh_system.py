"""What a host's own system says, read by one script: release, services, sshd, clock, network, mounts, certificates."""

from __future__ import annotations

import logging
import re
import shlex
from collections.abc import Callable, Mapping
from typing import TypeVar

from vmferry.adapters.ssh_certificates import READ_CERTIFICATES, parse_tls
from vmferry.adapters.ssh_links import parse_links
from vmferry.adapters.ssh_marks import READ_MARK
from vmferry.adapters.ssh_mounts import parse_mounts
from vmferry.adapters.ssh_shell import Completed, Script
from vmferry.model.facts import ClockReading, OsRelease, Service, SshdLimits, SystemFacts

logger = logging.getLogger("vmferry.ssh")

T = TypeVar("T")

# Records of name NUL text NUL. Every program is bounded in time, and one that is missing leaves its text empty.
# The host's time stands first and last, so that what happens in between does not blur it. Traffic is counted twice
# with at least 0.3 s in between, which the other programs use. RHEL 7 has an `ip` without -json, a findmnt without
# --json and a bash without EPOCHREALTIME.
SYSTEM = Script(
    "read-system",
    r"""began=${EPOCHREALTIME:-$(date +%s.%N)}
PATH=$PATH:/usr/sbin:/sbin
say() { printf '%s\0%s\0' "$1" "$2"; }
try() { timeout 5 "$@" 2>/dev/null; }
traffic() { date +%s.%N; cat /proc/net/dev; }
units='libvirtd.service libvirtd.socket virtqemud.service virtqemud.socket'
connection='user=root,host=localhost,addr=127.0.0.1,laddr=127.0.0.1,lport=22'
say began "$began"
say traffic-before "$(traffic)"
sleep 0.3 &
say os "$(cat /etc/os-release 2>/dev/null || cat /usr/lib/os-release 2>/dev/null)"
say links "$(try ip -json -details address show || { try ip -details -oneline link; try ip -oneline address; })"
say speeds "$(grep -H . /sys/class/net/*/speed 2>/dev/null)"
say mounts "$(try findmnt --json --list --output TARGET,SOURCE,FSTYPE,OPTIONS,UUID || cat /proc/self/mountinfo)"
say services "$(try systemctl show -p Id -p LoadState -p ActiveState -p UnitFileState $units)"
say sshd "$({ try sshd -T -C "$connection" || try sshd -T; } | grep -i '^maxstartups ')"
say userfaultfd "$(cat /proc/sys/vm/unprivileged_userfaultfd 2>/dev/null; test -c /dev/userfaultfd && echo device)"
say ports "$(grep -E '^[[:space:]]*migration_port_(min|max)[[:space:]]*=' /etc/libvirt/qemu.conf 2>/dev/null)"
"""
    + READ_CERTIFICATES
    + READ_MARK
    + r"""wait
say traffic-after "$(traffic)"
say ended "${EPOCHREALTIME:-$(date +%s.%N)}"
exit 0
""",
)

# libvirt's defaults (QEMU_MIGRATION_PORT_MIN and _MAX, src/qemu/qemu_conf.h).
_PORTS = (49152, 49215)
_PORT = re.compile(r"^\s*migration_port_(min|max)\s*=\s*(\d+)", re.MULTILINE)
# States of a unit file that start it with the system (systemctl(1), is-enabled).
_ENABLED = ("enabled", "alias", "generated")


def parse_system(done: Completed) -> SystemFacts:
    """Return what the script found; what was not printed, or not understood, stays unknown."""
    fields = done.stdout.split("\0")
    said = dict(zip(fields[::2], fields[1::2], strict=False))
    traffic = (said.get("traffic-before", ""), said.get("traffic-after", ""))
    return SystemFacts(
        os=_known("os", lambda: parse_os_release(said.get("os", "")), OsRelease()),
        services=_known("services", lambda: parse_services(said.get("services", "")), ()),
        sshd=_known("sshd", lambda: parse_sshd(said.get("sshd", "")), None),
        clock=_known("clock", lambda: parse_clock(said, done), None),
        links=_known("links", lambda: parse_links(said.get("links", ""), said.get("speeds", ""), traffic), ()),
        mounts=_known("mounts", lambda: parse_mounts(said.get("mounts", "")), ()),
        migration_ports=_known("ports", lambda: parse_migration_ports(said.get("ports", "")), _PORTS),
        may_all_use_userfaultfd={"0": False, "1": True}.get(said.get("userfaultfd", "")[:1]),
        has_userfaultfd_device="device" in said.get("userfaultfd", ""),
        tls=_known("certificates", lambda: parse_tls(said), None),
        mark=said.get("mark", ""),
        freeze=said.get("freeze", ""),
    )


def _known(fact: str, parse: Callable[[], T], unknown: T) -> T:
    """Return what `parse` returns; output that is not understood makes this one fact unknown and no other."""
    try:
        return parse()
    except (ValueError, LookupError, TypeError, AttributeError):
        logger.warning("%s of a host is not understood and taken as unknown", fact, exc_info=True)
        return unknown


def parse_os_release(text: str) -> OsRelease:
    """Return `/etc/os-release`: lines NAME=value, where a value is written as for a shell (os-release(5))."""
    values = {}
    for line in text.splitlines():
        name, _, value = line.strip().partition("=")
        if name and not name.startswith("#"):
            values[name] = _unquoted(value)
    return OsRelease(
        id=values.get("ID", ""),
        version_id=values.get("VERSION_ID", ""),
        name=values.get("PRETTY_NAME") or values.get("NAME", ""),
    )


def _unquoted(value: str) -> str:
    try:
        return "".join(shlex.split(value))
    except ValueError:  # a quote that is not closed
        return value.strip("\"'")


def parse_services(text: str) -> tuple[Service, ...]:
    """Return the units that exist, from blocks of `systemctl show`; empty without systemd.

    `enabled-runtime` ends with the system, `static` and `indirect` units are started by others: not enabled.
    """
    found: dict[str, Service] = {}
    for block in re.split(r"\n\s*\n", text.strip()):
        unit = dict(line.split("=", 1) for line in block.splitlines() if "=" in line)
        name, load = unit.get("Id", ""), unit.get("LoadState", "")
        if name and load not in ("not-found", "bad-setting", "error"):
            state = unit.get("UnitFileState", "")
            is_active = unit["ActiveState"] == "active" if unit.get("ActiveState") else None
            found[name] = Service(name=name, is_active=is_active, is_enabled=state in _ENABLED if state else None)
    return tuple(found.values())


def parse_sshd(text: str) -> SshdLimits | None:
    """Return `maxstartups start:rate:full` of `sshd -T`; None where that was not allowed."""
    found = re.search(r"^maxstartups (\d+):(\d+):(\d+)$", text.strip(), re.IGNORECASE | re.MULTILINE)
    return SshdLimits(start=int(found[1]), rate=int(found[2]), full=int(found[3])) if found else None


def parse_clock(said: Mapping[str, str], done: Completed) -> ClockReading | None:
    """Return the host's clock minus ours, from two pairs of readings as NTP does it (RFC 5905, clause 8).

    We read our clock before the command is sent and after its end came back, the host reads its own at the script's
    start and end. The script's own time falls out; the error is half of what is left, the way there and back.
    """
    if not said.get("began") or not said.get("ended"):
        return None
    ahead_at_start = float(said["began"]) - done.began_s
    ahead_at_end = float(said["ended"]) - done.ended_s
    return ClockReading(
        offset_ms=round(500 * (ahead_at_start + ahead_at_end), 3),
        error_ms=round(500 * max(0.0, ahead_at_start - ahead_at_end), 3),
    )


def parse_migration_ports(text: str) -> tuple[int, int]:
    """Return the range from lines of qemu.conf that are no comments; libvirt takes the first of several (virconf.c)."""
    ports = dict(zip(("min", "max"), _PORTS, strict=True))
    ports |= {name: int(port) for name, port in reversed(_PORT.findall(text))}
    return ports["min"], ports["max"]
