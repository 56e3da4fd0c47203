"""Keys and certificates that live as long as one copy."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

# The two ends know each other's very certificate, which is used once: no host's clock may have a say in it.
_BEGIN, _END = datetime(2000, 1, 1), datetime(9999, 12, 31, 23, 59, 59)


@dataclass(frozen=True)
class Pair:
    """A private key and its certificate, signed by itself; PEM."""

    key: str = field(repr=False)
    certificate: str


def new_pair(name: str) -> Pair:
    """Return a pair that nobody has had before."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"vmferry copy, {name}")])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(_BEGIN)
        .not_valid_after(_END)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return Pair(private.decode(), certificate.public_bytes(serialization.Encoding.PEM).decode())
