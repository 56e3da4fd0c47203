"""Facts of certificates in one line each: everything is right with them unless told otherwise."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from tests.unit.builders import NOW
from vmferry.model.certificates import FILES, Access, Certificate, TlsFacts
from vmferry.model.facts import SystemFacts

YEAR = timedelta(days=365)


def authority(name: str = "ca", **fields: Any) -> Certificate:
    """The certificate of an authority."""
    given: dict[str, Any] = {"not_before": NOW - YEAR, "not_after": NOW + YEAR, "key": name, "is_authority": True}
    return Certificate(subject=f"CN={name}", issuer=f"CN={name}", **{**given, **fields})


def certificate(*names: str, signer: str = "ca", **fields: Any) -> Certificate:
    """A host's certificate; names that begin with a digit are addresses."""
    given: dict[str, Any] = {
        "not_before": NOW - YEAR,
        "not_after": NOW + YEAR,
        "key": f"host-{names}",
        "signers": (signer,),
        "names": tuple(n for n in names if not n[:1].isdigit()),
        "addresses": tuple(n for n in names if n[:1].isdigit()),
    }
    return Certificate(subject=f"CN={names[0]}", issuer=f"CN={signer}", **{**given, **fields})


def tls(*names: str, without: tuple[str, ...] = (), **fields: Any) -> TlsFacts:
    """A host with all files, its certificates for these names; `without` some of the files."""
    access = {file: Access.MISSING if file in without else Access.READABLE for file in FILES}
    given: dict[str, Any] = {
        "user": "libvirt-qemu",
        "access": access,
        "authorities": () if "ca-cert.pem" in without else (authority(),),
        "server": None if "server-cert.pem" in without else certificate(*names),
        "client": None if "client-cert.pem" in without else certificate(*names),
    }
    return TlsFacts(**{**given, **fields})


def system(facts: TlsFacts | None, **fields: Any) -> SystemFacts:
    """A host's system with these certificates."""
    return SystemFacts(tls=facts, **fields)
