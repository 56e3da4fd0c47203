"""The X.509 certificates that a host's QEMU uses for migration: what can be read without any private key."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from pydantic import Field

from vmferry.model.base import Model

CA, SERVER, SERVER_KEY = "ca-cert.pem", "server-cert.pem", "server-key.pem"
CLIENT, CLIENT_KEY = "client-cert.pem", "client-key.pem"
FILES = (CA, SERVER, SERVER_KEY, CLIENT, CLIENT_KEY)


class Access(StrEnum):
    """Whether the user that QEMU runs as can read a file."""

    READABLE = "readable"
    CLOSED = "closed"  # it is there, QEMU cannot read it
    MISSING = "missing"
    UNKNOWN = "unknown"  # we were not allowed to find out


class Certificate(Model):
    """One certificate, and who signed it.

    `key` is the SHA-256 of subject and public key, which stays when a CA renews its own certificate. `signers` are
    the keys of those who signed it and each other, as far as they were found in the file itself and among the host's
    authorities: who trusts one of them trusts the certificate.
    """

    subject: str
    issuer: str
    not_before: datetime
    not_after: datetime
    key: str = ""
    signers: tuple[str, ...] = ()
    names: tuple[str, ...] = ()  # host names it is for; its common name where it has no alternative names
    addresses: tuple[str, ...] = ()  # IP addresses it is for
    is_authority: bool = False
    purposes: tuple[str, ...] | None = None  # server, client; None: any
    has_key: bool | None = None  # the private key beside it is its own; None: not known


class TlsFacts(Model):
    """What libvirt would give QEMU for `VIR_MIGRATE_TLS` (qemu.conf migrate_tls_x509_cert_dir and its defaults)."""

    directory: str = "/etc/pki/qemu"
    user: str = ""  # that QEMU runs as
    is_client_verified: bool = True  # migrate_tls_x509_verify: who comes here must show a certificate
    is_forced: bool = False  # migrate_tls_force: this libvirt refuses plain TCP
    access: dict[str, Access] = Field(default_factory=dict)
    authorities: tuple[Certificate, ...] = ()
    server: Certificate | None = None
    client: Certificate | None = None
    unreadable: dict[str, str] = Field(default_factory=dict)  # file → why what is in it is no certificate

    @property
    def is_begun(self) -> bool:
        """Whether anybody has put any of the files there."""
        return any(access is not Access.MISSING for access in self.access.values())

    def path(self, file: str) -> str:
        """Return the path of one of FILES."""
        return f"{self.directory.rstrip('/')}/{file}"
