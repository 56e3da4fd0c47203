"""The inventory's entries against what the hosts say of themselves."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlsplit

from vmferry.inventory.entry import is_loopback
from vmferry.model.findings import Finding, Severity
from vmferry.model.host import FleetSnapshot, Host, HostFacts, PairFacts


def check_inventory(snapshot: FleetSnapshot) -> dict[str, tuple[Finding, ...]]:
    """Return what does not match per host, in the order of the inventory; empty where all matches."""
    found: dict[str, list[Finding]] = {host.name: [] for host in snapshot.inventory.hosts}
    for gone in snapshot.unreachable:
        found.setdefault(gone.host, []).append(_block("unreachable", gone.reason, "reference 9.5"))
    for host in snapshot.inventory.hosts:
        facts = snapshot.facts(host.name)
        if facts is not None:
            found[host.name] += [*_connection(host, facts), *_capacity(host, facts), *_storage(host, facts)]
    for facts in snapshot.hosts:
        found[facts.name] += _twins(facts, snapshot)
    for pair in snapshot.pairs:
        found[pair.source] += _pair(pair, snapshot)
    return {name: tuple(findings) for name, findings in found.items()}


def _block(rule: str, message: str, source: str) -> Finding:
    return Finding(rule=f"inventory-{rule}", severity=Severity.BLOCK, message=message, source=source)


def _warn(rule: str, message: str, source: str) -> Finding:
    return Finding(rule=f"inventory-{rule}", severity=Severity.WARN, message=message, source=source)


def _connection(host: Host, facts: HostFacts) -> Iterator[Finding]:
    if urlsplit(facts.uri).path.rstrip("/") == "/session":
        text = f"{host.uri} opened the user session {facts.uri}; connect as root, or to /system"
        yield _block("session", text, "reference 9.3")
    if is_loopback(facts.hostname):
        text = f"the host calls itself {facts.hostname}; set its name: hostnamectl set-hostname {host.name}"
        yield _warn("hostname", text, "libvirt qemuMigrationDstPrepareDirect")
    missing = [kind for kind in host.hypervisors if kind not in facts.domain_types]
    if len(missing) == len(host.hypervisors):
        text = (
            f"the inventory says {', '.join(host.hypervisors)}, "
            f"the host offers {', '.join(facts.domain_types) or 'none'}; "
            "check `virsh domcapabilities` and that /dev/kvm exists, or correct hypervisors"
        )
        yield _block("hypervisor", text, "reference 9.5")
    elif missing:
        offered = ", ".join(facts.domain_types)
        text = f"the host does not offer {', '.join(missing)}, only {offered}; correct hypervisors"
        yield _warn("hypervisor", text, "reference 9.5")


def _capacity(host: Host, facts: HostFacts) -> Iterator[Finding]:
    total_mib = facts.memory_total_kib // 1024
    if host.reserves.memory_mib >= total_mib:
        kept_mib = host.reserves.memory_mib
        text = f"reserves.memory_mib {kept_mib} leaves nothing of the host's {total_mib} MiB; lower it"
        yield _block("reserves", text, "vmferry inventory")


def _storage(host: Host, facts: HostFacts) -> Iterator[Finding]:
    for storage in host.storage:
        if storage.path not in facts.storage_free_bytes:
            text = f"{storage.path} is not a directory of the host; create or mount it, or correct storage"
            yield _block("storage", text, "reference 9.4")


def _twins(facts: HostFacts, snapshot: FleetSnapshot) -> Iterator[Finding]:
    for other in snapshot.hosts:
        if other.name == facts.name:
            continue
        if other.uuid == facts.uuid:
            text = (
                f"has the host UUID {facts.uuid} of {other.name}: the same machine, or a clone; "
                "libvirt refuses to migrate between them; set host_uuid in /etc/libvirt/libvirtd.conf"
            )
            yield _block("same-uuid", text, "libvirt qemuMigrationCookieXMLParse")
        elif other.hostname == facts.hostname:
            text = f"calls itself {facts.hostname}, like {other.name}; give each host its own name"
            yield _warn("same-hostname", text, "libvirt.org/migration.html")


def _pair(pair: PairFacts, snapshot: FleetSnapshot) -> Iterator[Finding]:
    source, dest = snapshot.inventory.find(pair.source), snapshot.inventory.find(pair.dest)
    if source is None or dest is None:
        return
    if not pair.ping.is_ok:
        text = f"cannot ping {pair.dest} at {dest.migration_address}: {pair.ping.detail}"
        yield _block("ping", text, "reference 9.5")
    if not pair.libvirt.is_ok:
        text = (
            f"cannot open libvirt of {pair.dest}: {pair.libvirt.detail}; "
            f"try on {pair.source}: virsh -c {dest.peer_uri} version"
        )
        yield _block("peer", text, "reference 9.5")
    there = {storage.shared for storage in dest.storage if storage.shared is not None}
    for storage in source.storage:
        if storage.shared in there and not pair.is_same_storage(storage.path):
            text = (
                f"{storage.path} is listed as shared ({storage.shared}) with {pair.dest}, but a file made "
                "here did not appear there; check the mount on both hosts"
            )
            yield _block("not-shared", text, "reference 9.4")
