"""What libvirt and QEMU check of how memory is to travel, before a byte does: on the source alone, then with the peer.

Sources: qemuMigrationParamsFromFlags and qemuMigrationSrcIsAllowed of libvirt; what QEMU 7.2 said in the lab.
"""

from __future__ import annotations

from ipaddress import ip_address

from vmferry.adapters.simulated.ground import Ground
from vmferry.adapters.simulated.state import SimHost
from vmferry.errors import OutcomeUnknown, PermanentError
from vmferry.model.certificates import CA, CLIENT, CLIENT_KEY, SERVER, SERVER_KEY, Access, Certificate, TlsFacts
from vmferry.model.migration import MigrationPlan
from vmferry.model.transport import Encryption


def check_wire(ground: Ground, plan: MigrationPlan, source: SimHost, dest: SimHost) -> None:
    """Raise what libvirt raises for flags that exclude each other, and QEMU for certificates that do not work."""
    transport = plan.transport
    is_tunnelled = plan.encryption not in (Encryption.TLS, Encryption.NONE)
    if transport.connections is not None and is_tunnelled:
        raise _refused(plan, "parallel migration is not possible with tunnelled migration (INVALID_ARG, ERR 8)")
    if transport.is_zero_copy and transport.connections is None:
        raise _refused(plan, "zero-copy is only available for parallel migration (OPERATION_INVALID, ERR 55)")
    method = transport.compression
    if method is not None and method.is_of_connections != (transport.connections is not None):
        raise _refused(plan, f"compression method {method} does not go with these flags (INVALID_ARG, ERR 8)")
    if plan.encryption is Encryption.TLS:
        here, there = source.system.tls or TlsFacts(), dest.system.tls or TlsFacts()
        _load(ground, plan, dest, there, (CA, SERVER, SERVER_KEY))
        _load(ground, plan, source, here, (CA,))
        _shake_hands(plan, here, there)


def _load(ground: Ground, plan: MigrationPlan, host: SimHost, tls: TlsFacts, files: tuple[str, ...]) -> None:
    """Make QEMU's `tls-creds-x509`: it reads the files, and checks its own certificate against its own authorities."""
    for file in files:
        if tls.access.get(file, Access.MISSING) is not Access.READABLE:
            raise _broken(plan, host.name, f"Unable to access credentials {tls.path(file)}")
    own = [one for one in (tls.server if SERVER in files else None, *tls.authorities) if one is not None]
    for one in own:
        if not one.not_before <= ground.now() <= one.not_after:
            raise _broken(plan, host.name, f"The certificate of {one.subject} has expired or is not yet active")
    if tls.server is not None and SERVER in files and not _trusts(tls, tls.server):
        raise _broken(plan, host.name, f"Our own certificate {tls.path(SERVER)} failed validation")


def _shake_hands(plan: MigrationPlan, here: TlsFacts, there: TlsFacts) -> None:
    name = plan.transport.tls_name or plan.migration_uri.removeprefix("tcp://").strip("[]")
    if there.server is None or not _trusts(here, there.server) or not _is_for(there.server, name):
        raise _broken(plan, plan.source, f"Certificate does not match the hostname {name}, or is not trusted")
    shown = [here.access.get(file) is Access.READABLE for file in (CLIENT, CLIENT_KEY)]
    if there.is_client_verified and (not all(shown) or here.client is None or not _trusts(there, here.client)):
        raise _broken(plan, plan.dest, "TLS handshake failed: no certificate was found that is trusted")


def _trusts(tls: TlsFacts, one: Certificate) -> bool:
    return any(ca.key in one.signers for ca in tls.authorities)


def _is_for(one: Certificate, name: str) -> bool:
    try:
        return str(ip_address(name)) in one.addresses
    except ValueError:
        return name in one.names


def _refused(plan: MigrationPlan, why: str) -> PermanentError:
    return PermanentError(f"vm {plan.vm}: {plan.source} → {plan.dest}: {why}", vm=plan.vm, host=plan.source)


def _broken(plan: MigrationPlan, host: str, why: str) -> OutcomeUnknown:
    return OutcomeUnknown(f"vm {plan.vm}: {why} on {host} (ERR 1)", vm=plan.vm, host=plan.source)
