"""Whether QEMU of two hosts would make a TLS connection: what QEMU and GnuTLS check, judged from both hosts' facts.

Source: crypto/tlscredsx509.c and crypto/tlssession.c of QEMU; qemuMigrationParamsEnableTLS of libvirt.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from ipaddress import ip_address
from urllib.parse import urlsplit

from vmferry.model.certificates import (
    CA,
    CLIENT,
    CLIENT_KEY,
    SERVER,
    SERVER_KEY,
    Access,
    Certificate,
    TlsFacts,
)
from vmferry.rules.case import Side

# A connection is made minutes after preflight; in an evacuation hours. Longer than the deadline of a VM of 512 GiB.
MARGIN = timedelta(days=1)
SOON = timedelta(days=30)


def tls_problems(source: Side, dest: Side) -> tuple[str, ...]:
    """Say what keeps memory from travelling by TLS from `source` to `dest`; empty when nothing does."""
    here, there = source.facts.system.tls, dest.facts.system.tls
    unread = [side.name for side, tls in ((source, here), (dest, there)) if tls is None]
    if here is None or there is None:
        return tuple(f"the certificates of {name} could not be read" for name in unread)
    # The source is QEMU's client, the destination its server.
    found = [*_files(dest, there, (CA, SERVER, SERVER_KEY))]
    found += _files(source, here, (CA, CLIENT, CLIENT_KEY) if there.is_client_verified else (CA,))
    if there.server is not None:
        found += _certificate(dest, there, SERVER, there.server, "server")
        found += _trust(there.server, (dest, there, SERVER), (source, here))
        found += _name(dest, there, there.server)
    if here.client is not None and there.is_client_verified:
        found += _certificate(source, here, CLIENT, here.client, "client")
        found += _trust(here.client, (source, here, CLIENT), (dest, there))
    return tuple(found)


def expiring(source: Side, dest: Side) -> Iterator[str]:
    """Say which certificates that a move would use end within 30 days."""
    here, there = source.facts.system.tls, dest.facts.system.tls
    used = [(dest, there, SERVER, there.server)] if there is not None else []
    if here is not None and there is not None and there.is_client_verified:
        used.append((source, here, CLIENT, here.client))
    for side, tls, file, one in used:
        if tls is not None and one is not None and one.not_after < side.facts.read_at + SOON:
            days = (one.not_after - side.facts.read_at).days
            yield (
                f"{tls.path(file)} of {side.name} ends on {_when(one.not_after)}, in {days} days; renew it: from then "
                "on no memory travels by TLS (the files are read anew at each move, libvirtd need not be restarted)"
            )


def peer_names(host: Side) -> tuple[str, ...]:
    """Return the names under which a destination is known to us, the one that libvirt checks by itself first.

    libvirt lets QEMU check the host of the migration URI. The others are the inventory's, and the host's own, which
    was read through a connection that proved who it is.
    """
    entry = host.host
    names = (entry.migration_address, entry.ssh.address, urlsplit(entry.peer_uri).hostname or "", entry.name)
    return tuple(dict.fromkeys(name for name in (*names, host.facts.hostname) if name))


def certified_name(dest: Side) -> str | None:
    """Return the first of a destination's names that its certificate is for; None where it is for none of them."""
    tls = dest.facts.system.tls
    if tls is None or tls.server is None:
        return None
    return next((name for name in peer_names(dest) if _is_for(tls.server, name)), None)


def _files(side: Side, tls: TlsFacts, files: tuple[str, ...]) -> Iterator[str]:
    if not tls.is_begun:
        yield (
            f"{side.name} has no certificates: QEMU looks for {', '.join(files)} in {tls.directory} there; "
            "docs/operator-guide.md, TLS, makes them"
        )
        return
    for file in files:
        access, path = tls.access.get(file, Access.MISSING), tls.path(file)
        if access is Access.MISSING:
            yield f"{side.name} has no {path}; copy it there: `scp {file} root@{side.host.ssh.address}:{path}`"
        elif access is Access.CLOSED:
            yield (
                f"{path} of {side.name} cannot be read by {tls.user}, the user that QEMU runs as; run on {side.name}: "
                f"`chgrp {tls.user} {path} && chmod 640 {path}` and see that {tls.user} may enter {tls.directory}"
            )
        elif file in tls.unreadable:
            yield f"{path} of {side.name} holds no certificate: {tls.unreadable[file]}; copy it there again"
        elif (file == CA and not tls.authorities) or (file in (SERVER, CLIENT) and _of(tls, file) is None):
            yield f"{path} of {side.name} holds no certificate in PEM form; copy it there again"
    if CA in files:
        for authority in tls.authorities:
            yield from _times(side, tls, CA, authority)


def _of(tls: TlsFacts, file: str) -> Certificate | None:
    return tls.server if file == SERVER else tls.client


def _times(side: Side, tls: TlsFacts, file: str, one: Certificate) -> Iterator[str]:
    """QEMU refuses to begin with any certificate out of its time, those of authorities included."""
    path, now = tls.path(file), side.facts.read_at
    if one.not_after < now + MARGIN:
        ended = "ended" if one.not_after < now else "ends"
        yield f"{path} of {side.name} ({one.subject}) {ended} on {_when(one.not_after)}; renew it"
    if one.not_before > now:
        yield (
            f"{path} of {side.name} ({one.subject}) begins on {_when(one.not_before)} only; wait, or see the clock of "
            "who made it"
        )


def _certificate(side: Side, tls: TlsFacts, file: str, one: Certificate, purpose: str) -> Iterator[str]:
    yield from _times(side, tls, file, one)
    if one.has_key is False:
        yield (
            f"{tls.path(file)} of {side.name} does not belong to {tls.path(f'{purpose}-key.pem')} beside it; copy both "
            "there again"
        )
    if one.is_authority:
        yield f"{tls.path(file)} of {side.name} is the certificate of an authority; give the host one of its own"
    if one.purposes is not None and purpose not in one.purposes:
        yield (
            f"{tls.path(file)} of {side.name} is not for a {purpose} (extendedKeyUsage "
            f"{', '.join(one.purposes) or 'of another kind'}); issue it with extendedKeyUsage={purpose}Auth"
        )
    if not _trusts(tls, one):
        yield (
            f"{tls.path(file)} of {side.name} is signed by {one.issuer}, which is not in {tls.path(CA)} there; QEMU "
            "refuses to begin with it; copy the right one there"
        )


def _trusts(tls: TlsFacts, one: Certificate) -> bool:
    return any(ca.is_authority and ca.key in one.signers for ca in tls.authorities)


def _trust(one: Certificate, owner: tuple[Side, TlsFacts, str], peer: tuple[Side, TlsFacts]) -> Iterator[str]:
    """The peer trusts who signed it; where its owner does not either, that has been said."""
    (side, tls, file), (other, judge) = owner, peer
    if judge.authorities and not _trusts(judge, one) and _trusts(tls, one):
        yield (
            f"{other.name} does not trust {tls.path(file)} of {side.name}: {one.issuer}, who signed it, is not in "
            f"{judge.path(CA)} of {other.name} ({', '.join(ca.subject for ca in judge.authorities)}); use one CA for "
            "both hosts"
        )


def _name(dest: Side, tls: TlsFacts, one: Certificate) -> Iterator[str]:
    if certified_name(dest) is None:
        address = dest.host.migration_address
        wanted = f"IP:{address}" if _is_address(address) else f"DNS:{address}"
        have = ", ".join((*one.names, *one.addresses)) or "nobody"
        yield (
            f"{tls.path(SERVER)} of {dest.name} is for {have}, not for {' or '.join(peer_names(dest))}; issue it with "
            f"subjectAltName={wanted}"
        )


def _is_for(one: Certificate, name: str) -> bool:
    """Whether GnuTLS takes the certificate for this name (gnutls_x509_crt_check_hostname, RFC 6125)."""
    if _is_address(name):
        return str(ip_address(name)) in one.addresses
    wanted = name.rstrip(".").lower()
    return any(_covers(pattern.rstrip(".").lower(), wanted) for pattern in one.names)


def _covers(pattern: str, name: str) -> bool:
    if not pattern.startswith("*."):
        return pattern == name
    # A wildcard stands for one whole label, and never above a single one (*.org).
    return pattern.count(".") > 1 and name.partition(".")[2] == pattern[2:]


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True


def _when(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC"
