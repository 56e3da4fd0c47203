"""The lab's certificate authority, and each host's certificates for QEMU's TLS."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from ipaddress import ip_address
from pathlib import Path

from infra.lab.proc import run

# Not libvirt's default /etc/pki/qemu: not every machine has an /etc/pki, and nothing is made outside of a lab.
INSIDE = "/etc/libvirt/pki"
QEMU_CONF = f'default_tls_x509_cert_dir = "{INSIDE}"\n'

_CONFIG = """\
[req]
distinguished_name = dn
prompt = no
[dn]
CN = {name}
[ca]
basicConstraints = critical,CA:TRUE
keyUsage = critical,keyCertSign,cRLSign
[host]
basicConstraints = critical,CA:FALSE
keyUsage = critical,digitalSignature,keyEncipherment
extendedKeyUsage = serverAuth,clientAuth
subjectAltName = {names}
"""
_NEW_KEY = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]


def make_authority(where: Path, name: str = "vmferry-lab") -> None:
    """Make a CA in a directory, ca-cert.pem and ca-key.pem, unless it is there."""
    if (where / "ca-cert.pem").exists():
        return
    where.mkdir(parents=True, exist_ok=True)
    config = _config(where / "ca.conf", name)
    made = where / "ca-cert.new"
    argv: list[str | Path] = [
        "openssl",
        "req",
        "-x509",
        "-config",
        config,
        "-extensions",
        "ca",
        "-days",
        "3650",
        *_NEW_KEY,
    ]
    run([*argv, "-keyout", where / "ca-key.pem", "-out", made])
    made.rename(where / "ca-cert.pem")


def issue(authority: Path, where: Path, names: Sequence[str], *, days: int = 365) -> None:
    """Make a host's key and certificate in a directory, as server and as client, with the CA's certificate.

    `names` are host names and IP addresses. With 0 days the certificate has ended when it is made.
    """
    where.mkdir(parents=True, exist_ok=True)
    config = _config(where / "host.conf", names[0], names)
    request, key, made = where / "host.csr", where / "key.new", where / "cert.new"
    run(["openssl", "req", "-new", "-config", config, *_NEW_KEY, "-keyout", key, "-out", request])
    signer: list[str | Path] = ["-CA", authority / "ca-cert.pem", "-CAkey", authority / "ca-key.pem", "-CAcreateserial"]
    argv = ["openssl", "x509", "-req", "-in", request, *signer, "-days", str(days), "-extfile", config]
    run([*argv, "-extensions", "host", "-out", made])
    shutil.copy(authority / "ca-cert.pem", where / "ca-cert.pem")
    for end in ("server", "client"):
        shutil.copy(key, where / f"{end}-key.pem")
        shutil.copy(made, where / f"{end}-cert.pem")
    for file in (config, request, key, made):
        file.unlink()


def _config(path: Path, name: str, names: Sequence[str] = ()) -> Path:
    path.write_text(_CONFIG.format(name=name, names=",".join(map(_alternative, names)) or "DNS:unused"))
    return path


def _alternative(name: str) -> str:
    try:
        ip_address(name)
    except ValueError:
        return f"DNS:{name}"
    return f"IP:{name}"
