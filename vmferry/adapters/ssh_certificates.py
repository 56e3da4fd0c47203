"""The certificates that a host's QEMU uses for migration, read by the script of `ssh_system`; never a private key.

Which directory it is: `virQEMUDriverConfigSetDefaults` of libvirt (src/qemu/qemu_conf.c). libvirtd decides when it
starts: a /etc/pki/libvirt-migrate that was made since is not seen by it before it is started again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from vmferry.model.certificates import (
    CA,
    CLIENT,
    CLIENT_KEY,
    FILES,
    SERVER,
    SERVER_KEY,
    Access,
    Certificate,
    TlsFacts,
)

# A part of the script of `ssh_system`, which gives `say` and `try`. Of a file with certificates only those are
# printed: some keep the key in the same file. Of a key openssl prints the public part, where it is there and the key
# needs no password. runuser asks as the user that QEMU runs as, who has to read them.
READ_CERTIFICATES = r"""
setting() {
  sed -n "s/^[[:space:]]*$1[[:space:]]*=[[:space:]]*[\"']\{0,1\}\([^\"'#]*\).*/\1/p" \
    /etc/libvirt/qemu.conf 2>/dev/null | head -n 1
}
pki=$(setting migrate_tls_x509_cert_dir)
[ -n "$pki" ] || { [ ! -d /etc/pki/libvirt-migrate ] || pki=/etc/pki/libvirt-migrate; }
[ -n "$pki" ] || pki=$(setting default_tls_x509_cert_dir)
pki=${pki:-/etc/pki/qemu} runs=$(setting user) verify=$(setting migrate_tls_x509_verify)
[ -n "$runs" ] || for runs in libvirt-qemu qemu root; do getent passwd "$runs" >/dev/null && break; done
runs=$(getent passwd "${runs#+}" | cut -d: -f1)
say pki "$pki"
say pki-user "$runs"
say pki-verify "${verify:-$(setting default_tls_x509_verify)}"
say pki-force "$(setting migrate_tls_force)"
if [ -d "$pki" ]; then
  look='cd -- "$0" || exit 9; for f; do if [ -r "$f" ]; then echo "$f readable"; else echo "$f closed"; fi; done'
  names=$(cd -- "$pki" && for f in ca-cert.pem server-cert.pem server-key.pem client-cert.pem client-key.pem; do
    [ ! -e "$f" ] || echo "$f"; done)
  say pki-there "$names"
  if [ -n "$names" ]; then
    if [ "$(id -un)" = "$runs" ]; then say pki-access "$(bash -c "$look" "$pki" $names)"
    elif [ "$(id -u)" = 0 ]; then say pki-access "$(cd / && try runuser -u "$runs" -- bash -c "$look" "$pki" $names
      echo "ended $?")"
    fi
  fi
  for f in ca-cert.pem server-cert.pem client-cert.pem; do
    say "pki/$f" "$(sed -n '/^-----BEGIN \(X509 \)\{0,1\}CERTIFICATE/,/^-----END/p' "$pki/$f" 2>/dev/null |
      head -c 262144)"
  done
  for f in server-key.pem client-key.pem; do
    say "pki/$f" "$([ ! -e "$pki/$f" ] || try openssl pkey -in "$pki/$f" -pubout -passin pass: </dev/null)"
  done
fi
"""
_PURPOSES = {ExtendedKeyUsageOID.SERVER_AUTH: "server", ExtendedKeyUsageOID.CLIENT_AUTH: "client"}
_CANNOT_ENTER = "ended 9"  # the directory itself is closed to QEMU


def parse_tls(said: Mapping[str, str]) -> TlsFacts | None:
    """Return what the script found; None where it said nothing of certificates."""
    if not said.get("pki"):
        return None
    loaded: dict[str, tuple[x509.Certificate, ...]] = {}
    unreadable: dict[str, str] = {}
    for file in (CA, SERVER, CLIENT):
        try:
            loaded[file] = _load(said.get(f"pki/{file}", ""))
        except (ValueError, UnsupportedAlgorithm) as error:
            unreadable[file] = " ".join(str(error).split())[:200] or type(error).__name__
    authorities = loaded.get(CA, ())
    return TlsFacts(
        directory=said["pki"].strip(),
        user=said.get("pki-user", "").strip(),
        is_client_verified=said.get("pki-verify", "").strip() != "0",
        is_forced=said.get("pki-force", "").strip() == "1",
        access=_access(said),
        authorities=tuple(_read(one, (), ()) for one in authorities),
        server=_leaf(loaded.get(SERVER, ()), authorities, said.get(f"pki/{SERVER_KEY}", "")),
        client=_leaf(loaded.get(CLIENT, ()), authorities, said.get(f"pki/{CLIENT_KEY}", "")),
        unreadable=unreadable,
    )


def _access(said: Mapping[str, str]) -> dict[str, Access]:
    there = said.get("pki-there", "").split()
    told = said.get("pki-access", "")
    seen = dict(line.split() for line in told.splitlines() if len(line.split()) == 2)
    otherwise = Access.CLOSED if _CANNOT_ENTER in told else Access.UNKNOWN
    known = {"readable": Access.READABLE, "closed": Access.CLOSED}
    return {file: known.get(seen.get(file, ""), otherwise) if file in there else Access.MISSING for file in FILES}


def _load(text: str) -> tuple[x509.Certificate, ...]:
    return tuple(x509.load_pem_x509_certificates(text.encode())) if text.strip() else ()


def _leaf(
    chain: Sequence[x509.Certificate], authorities: Sequence[x509.Certificate], public_key: str
) -> Certificate | None:
    """Return the first certificate of a file, the host's own; the others of it are of those between it and the CA."""
    if not chain:
        return None
    return _read(chain[0], chain[1:], authorities).model_copy(update={"has_key": _has_key(chain[0], public_key)})


def _has_key(one: x509.Certificate, public_key: str) -> bool | None:
    """Whether this is the public part of the certificate's key; None where the host could not tell it."""
    if not public_key.strip():
        return None
    try:
        beside = load_pem_public_key(public_key.encode())
    except (ValueError, UnsupportedAlgorithm):
        return None
    return _der(beside) == _der(one.public_key())


def _der(key: PublicKeyTypes) -> bytes:
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _read(
    one: x509.Certificate, between: Sequence[x509.Certificate], authorities: Sequence[x509.Certificate]
) -> Certificate:
    names, addresses = _names(one)
    return Certificate(
        subject=one.subject.rfc4514_string(),
        issuer=one.issuer.rfc4514_string(),
        not_before=one.not_valid_before_utc,
        not_after=one.not_valid_after_utc,
        key=_key(one),
        signers=_signers(one, between, authorities),
        names=names,
        addresses=addresses,
        is_authority=_is_authority(one),
        purposes=_purposes(one),
    )


def _key(one: x509.Certificate) -> str:
    return hashlib.sha256(one.subject.public_bytes() + _der(one.public_key())).hexdigest()


def _signers(
    one: x509.Certificate, between: Sequence[x509.Certificate], authorities: Sequence[x509.Certificate]
) -> tuple[str, ...]:
    """Return the keys of who signed it, and of who signed those, as far as they are found."""
    found: list[str] = []
    below = one
    while True:
        above = next((c for c in (*authorities, *between) if _key(c) not in found and _has_signed(c, below)), None)
        if above is None:
            return tuple(found)
        found.append(_key(above))
        below = above


def _has_signed(issuer: x509.Certificate, one: x509.Certificate) -> bool:
    try:
        one.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return True


def _names(one: x509.Certificate) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return host names and IP addresses; GnuTLS takes the common name only where no alternative name is given."""
    try:
        told = one.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        common = one.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        return tuple(str(name.value) for name in common[-1:]), ()
    addresses = tuple(str(address) for address in told.get_values_for_type(x509.IPAddress))
    return tuple(told.get_values_for_type(x509.DNSName)), addresses


def _is_authority(one: x509.Certificate) -> bool:
    try:
        return one.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        return False


def _purposes(one: x509.Certificate) -> tuple[str, ...] | None:
    try:
        usage = one.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        return None
    if ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE in usage:
        return None
    return tuple(_PURPOSES[oid] for oid in usage if oid in _PURPOSES)
