"""The certificates of a host: the script on real files, what is parsed of them, and that no key is ever sent."""

from __future__ import annotations

import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from infra.lab import tls as lab_tls
from vmferry.adapters.ssh_certificates import READ_CERTIFICATES, parse_tls
from vmferry.model.certificates import CA, CLIENT, CLIENT_KEY, SERVER, SERVER_KEY, Access, TlsFacts

# `say` and `try` of the script around it; a qemu.conf and an /etc/pki of our own instead of the machine's.
_AROUND = r"""
say() { printf '%s\0%s\0' "$1" "$2"; }
try() { timeout 5 "$@" 2>/dev/null; }
"""


class FakeHost:
    """A directory that stands for a host's /etc."""

    def __init__(self, etc: Path) -> None:
        self.etc = etc
        self.pki = etc / "pki/qemu"

    def conf(self, text: str) -> None:
        (self.etc / "libvirt").mkdir(exist_ok=True)
        (self.etc / "libvirt/qemu.conf").write_text(text)

    def said(self) -> dict[str, str]:
        script = _AROUND + READ_CERTIFICATES.replace("/etc/", f"{self.etc}/")
        done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True, timeout=30)
        assert "PRIVATE" not in done.stdout
        fields = done.stdout.split("\0")
        return dict(zip(fields[::2], fields[1::2], strict=False))

    def read(self) -> TlsFacts:
        facts = parse_tls(self.said())
        assert facts is not None
        return facts


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Path:
    where = tmp_path_factory.mktemp("ca")
    lab_tls.make_authority(where, "the-ca")
    return where


@pytest.fixture
def host(tmp_path: Path) -> FakeHost:
    made = FakeHost(tmp_path)
    made.conf('#user = "nobody"\nuser = "root"\n')
    return made


def test_a_host_without_any_has_not_begun(host: FakeHost) -> None:
    facts = host.read()
    assert not facts.is_begun and set(facts.access.values()) == {Access.MISSING}
    assert (facts.directory, facts.user, facts.is_client_verified) == (f"{host.etc}/pki/qemu", "root", True)
    assert parse_tls({}) is None


def test_names_dates_and_signers_are_read(host: FakeHost, authority: Path) -> None:
    lab_tls.issue(authority, host.pki, ["kvm1.example.org", "10.0.0.1", "fd00::1"], days=90)
    facts = host.read()
    server = facts.server
    assert server is not None and server == facts.client
    assert (server.subject, server.issuer) == ("CN=kvm1.example.org", "CN=the-ca")
    assert (server.names, server.addresses) == (("kvm1.example.org",), ("10.0.0.1", "fd00::1"))
    assert abs(server.not_after - datetime.now(UTC) - timedelta(days=90)) < timedelta(hours=1)
    assert set(server.purposes or ()) == {"server", "client"} and not server.is_authority
    assert [ca.is_authority for ca in facts.authorities] == [True]
    assert server.signers == (facts.authorities[0].key,)
    assert set(facts.access.values()) == {Access.READABLE} and facts.is_begun


def test_a_stranger_in_the_file_of_authorities_signed_nothing(host: FakeHost, authority: Path, tmp_path: Path) -> None:
    lab_tls.issue(authority, host.pki, ["kvm1"])
    lab_tls.make_authority(tmp_path / "stranger", "the-ca")  # the same name, another key
    (host.pki / CA).write_bytes((tmp_path / "stranger/ca-cert.pem").read_bytes())
    facts = host.read()
    assert facts.server is not None and facts.server.signers == ()
    both = (tmp_path / "stranger/ca-cert.pem").read_bytes() + (authority / "ca-cert.pem").read_bytes()
    (host.pki / CA).write_bytes(both)
    facts = host.read()
    assert facts.server is not None and facts.server.signers == (facts.authorities[1].key,)


def test_a_key_in_the_same_file_is_not_sent(host: FakeHost, authority: Path) -> None:
    lab_tls.issue(authority, host.pki, ["kvm1"])
    key = (host.pki / SERVER_KEY).read_text()
    (host.pki / SERVER).write_text(key + (host.pki / SERVER).read_text() + key)
    assert host.read().server is not None  # said() looks for keys


def test_a_key_of_another_certificate_is_told(host: FakeHost, authority: Path, tmp_path: Path) -> None:
    lab_tls.issue(authority, host.pki, ["kvm1"])
    facts = host.read()
    assert facts.server is not None and facts.server.has_key is True
    lab_tls.issue(authority, tmp_path / "other", ["kvm1"])
    (host.pki / SERVER_KEY).write_bytes((tmp_path / "other/server-key.pem").read_bytes())
    (host.pki / CLIENT_KEY).unlink()
    facts = host.read()
    assert facts.server is not None and facts.server.has_key is False
    assert facts.client is not None and facts.client.has_key is None
    key = tmp_path / "other/server-key.pem"
    encrypt = ["openssl", "pkey", "-in", key, "-aes256", "-passout", "pass:x", "-out", host.pki / SERVER_KEY]
    subprocess.run(encrypt, check=True)
    facts = host.read()
    assert facts.server is not None and facts.server.has_key is None


def test_what_is_no_certificate_is_told(host: FakeHost, authority: Path) -> None:
    lab_tls.issue(authority, host.pki, ["kvm1"])
    (host.pki / SERVER).write_text("-----BEGIN CERTIFICATE-----\nbm90aGluZw==\n-----END CERTIFICATE-----\n")
    (host.pki / CLIENT).write_bytes(b"\x30\x82\x00\x00")  # DER
    (host.pki / CLIENT_KEY).unlink()
    facts = host.read()
    assert SERVER in facts.unreadable and facts.server is None
    assert (facts.client, CLIENT in facts.unreadable) == (None, False)
    assert (facts.access[CLIENT_KEY], facts.access[SERVER_KEY]) == (Access.MISSING, Access.READABLE)


def test_files_are_tried_as_the_user_that_qemu_runs_as(host: FakeHost, authority: Path) -> None:
    lab_tls.issue(authority, host.pki, ["kvm1"])
    host.conf('user = "nobody"   # not root\n')
    for directory in (host.pki, *host.pki.parents):
        if directory.is_relative_to(host.etc):
            directory.chmod(0o755)
    access = host.read().access
    assert access[CA] in (Access.READABLE, Access.CLOSED)  # pytest's own directory may be closed to nobody
    assert access[SERVER_KEY] is Access.CLOSED
    host.pki.chmod(0o700)
    assert set(host.read().access.values()) == {Access.CLOSED}


def test_the_directory_is_what_libvirt_takes(host: FakeHost) -> None:
    assert host.read().directory.endswith("/pki/qemu")
    host.conf('default_tls_x509_cert_dir = "/srv/all"\nmigrate_tls_x509_verify = 0\nmigrate_tls_force = 1 # yes\n')
    facts = host.read()
    assert (facts.directory, facts.is_client_verified, facts.is_forced) == ("/srv/all", False, True)
    (host.etc / "pki/libvirt-migrate").mkdir(parents=True)
    assert host.read().directory.endswith("/pki/libvirt-migrate")
    host.conf("migrate_tls_x509_cert_dir = '/srv/move'\nmigrate_tls_x509_cert_dir = \"/srv/later\"\n")
    assert host.read().directory == "/srv/move"
    host.conf("default_tls_x509_verify = 0\n")
    assert not host.read().is_client_verified
