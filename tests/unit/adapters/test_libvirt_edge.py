"""The edge to libvirt: errors by what may be done next, bounded calls, virsh's words, flags of a move."""

from __future__ import annotations

import itertools
import re
import shutil
import subprocess
import threading
from pathlib import Path

import libvirt
import pytest

from tests.unit.adapters.test_journal import build_plan
from tests.unit.builders import build_uuid
from vmferry.adapters.libvirt_calls import bounded, is_connection_lost, open_connection, text_of, translate
from vmferry.adapters.libvirt_flags import migration_flags, migration_parameters
from vmferry.adapters.libvirt_words import job_stats, state_words
from vmferry.errors import HostBusy, HostUnreachable, NotFound, OutcomeUnknown, PermanentError, VmferryError
from vmferry.model.convergence import PolicyName
from vmferry.model.migration import JobStats, MigrationMode
from vmferry.model.transport import Encryption
from vmferry.model.vm import DomainState
from vmferry.settings import Settings

# translation


def libvirt_error(code: int, domain: int = libvirt.VIR_FROM_QEMU, text: str = "it\n failed") -> libvirt.libvirtError:
    error = libvirt.libvirtError("failed")
    error.err = (code, domain, text, 2, None, None, None, -1, -1)
    return error


RPC = libvirt.VIR_FROM_RPC
TABLE = [
    # code, domain, class for a read, class for a write
    (libvirt.VIR_ERR_NO_DOMAIN, libvirt.VIR_FROM_QEMU, NotFound, NotFound),
    (libvirt.VIR_ERR_OPERATION_TIMEOUT, libvirt.VIR_FROM_QEMU, HostBusy, HostBusy),  # 68: state change lock
    (libvirt.VIR_ERR_SYSTEM_ERROR, RPC, HostUnreachable, OutcomeUnknown),  # 38: end of file
    (libvirt.VIR_ERR_INTERNAL_ERROR, RPC, HostUnreachable, OutcomeUnknown),  # 1: client socket is closed
    (libvirt.VIR_ERR_INTERNAL_ERROR, libvirt.VIR_FROM_QEMU, PermanentError, OutcomeUnknown),
    (libvirt.VIR_ERR_SYSTEM_ERROR, libvirt.VIR_FROM_QEMU, PermanentError, OutcomeUnknown),
    (libvirt.VIR_ERR_NO_CONNECT, libvirt.VIR_FROM_REMOTE, HostUnreachable, OutcomeUnknown),
    (libvirt.VIR_ERR_OPERATION_INVALID, libvirt.VIR_FROM_QEMU, PermanentError, PermanentError),  # 55
    (libvirt.VIR_ERR_OPERATION_FAILED, libvirt.VIR_FROM_QEMU, PermanentError, PermanentError),  # 9
    (libvirt.VIR_ERR_OPERATION_UNSUPPORTED, libvirt.VIR_FROM_QEMU, PermanentError, PermanentError),
    (libvirt.VIR_ERR_XML_ERROR, libvirt.VIR_FROM_DOMAIN, PermanentError, PermanentError),
]


@pytest.mark.parametrize(("code", "domain", "read", "write"), TABLE)
def test_an_error_of_libvirt_becomes_what_may_be_done_next(
    code: int, domain: int, read: type[VmferryError], write: type[VmferryError]
) -> None:
    error = libvirt_error(code, domain)
    for is_write, expected in ((False, read), (True, write)):
        made = translate(error, "kvm1", "resume x", is_write=is_write)
        assert type(made) is expected
        assert made.host == "kvm1"
        assert str(made).startswith("host kvm1: resume x: it failed")


def test_a_failed_write_never_promises_that_nothing_changed_when_the_connection_is_gone() -> None:
    codes = [v for k, v in vars(libvirt).items() if k.startswith("VIR_ERR_") and isinstance(v, int)]
    for code, domain in itertools.product(codes, (libvirt.VIR_FROM_RPC, libvirt.VIR_FROM_REMOTE)):
        error = libvirt_error(code, domain)
        if is_connection_lost(error):
            assert type(translate(error, "kvm1", "resume", is_write=True)) is OutcomeUnknown


def test_a_real_missing_domain_is_not_found_and_a_real_bad_xml_is_permanent() -> None:
    connection = open_connection("test:///default", "kvm1", Settings())
    try:
        with pytest.raises(libvirt.libvirtError) as missing:
            connection.lookupByUUID(build_uuid("nobody").bytes)
        with pytest.raises(libvirt.libvirtError) as broken:
            connection.defineXML("<domain/>")
    finally:
        connection.close()
    assert type(translate(missing.value, "kvm1", "look", is_write=False)) is NotFound
    assert type(translate(broken.value, "kvm1", "define", is_write=True)) is PermanentError
    assert "\n" not in text_of(broken.value)


def test_a_host_whose_libvirt_cannot_be_opened_is_unreachable_and_the_message_has_the_next_command(
    tmp_path: Path,
) -> None:
    uri = f"qemu+unix:///system?socket={tmp_path}/none"
    with pytest.raises(HostUnreachable, match=re.escape(f"virsh -c '{uri}' version")):
        open_connection(uri, "kvm1", Settings())


# bounded


def test_a_bounded_call_gives_its_answer_or_its_error() -> None:
    assert bounded(lambda: 42, 5) == 42
    with pytest.raises(KeyError):
        bounded(lambda: {}["x"], 5)


def test_a_call_that_does_not_return_is_left_behind_in_time() -> None:
    never = threading.Event()
    with pytest.raises(TimeoutError, match="no answer within"):
        bounded(never.wait, 0.02)
    never.set()


def test_a_timeout_that_the_call_itself_raises_keeps_its_words() -> None:
    def call() -> None:
        raise TimeoutError("libvirt says so")

    with pytest.raises(TimeoutError, match="libvirt says so"):
        bounded(call, 5)


# words


@pytest.fixture(scope="module")
def virsh() -> bytes:
    """Return virsh's binary: it holds its own words for states and reasons, each ended by NUL."""
    path = shutil.which("virsh")
    assert path is not None
    return Path(path).read_bytes()


KINDS = {
    "RUNNING": libvirt.VIR_DOMAIN_RUNNING,
    "PAUSED": libvirt.VIR_DOMAIN_PAUSED,
    "SHUTOFF": libvirt.VIR_DOMAIN_SHUTOFF,
    "CRASHED": libvirt.VIR_DOMAIN_CRASHED,
}


def constants() -> list[tuple[str, int, int]]:
    """Return (name, state, reason) of every reason that this libvirt knows."""
    found = []
    for kind, state in KINDS.items():
        prefix = f"VIR_DOMAIN_{kind}_"
        names = [n for n in vars(libvirt) if n.startswith(prefix) and not n.endswith(("_LAST", "_UNKNOWN"))]
        found += [(name, state, getattr(libvirt, name)) for name in names]
    return found


def test_every_reason_of_this_libvirt_has_a_word_and_it_is_one_of_virsh(virsh: bytes) -> None:
    words = {name: state_words(state, reason)[1] for name, state, reason in constants()}
    assert len(words) > 30
    assert {name for name, word in words.items() if not word or f"{word}\0".encode() not in virsh} == set()


def test_every_state_is_called_as_virsh_calls_it(virsh: bytes) -> None:
    states = {state_words(number, 0)[0] for number in range(8)}
    assert states == set(DomainState) - {DomainState.ABSENT}
    assert all(f"{state}\0".encode() in virsh for state in states)


def test_an_unknown_number_is_no_state_and_no_reason() -> None:
    assert state_words(99, 99) == (DomainState.NOSTATE, "")
    assert state_words(libvirt.VIR_DOMAIN_RUNNING, 99) == (DomainState.RUNNING, "")


def test_words_are_what_the_real_virsh_says_of_a_real_domain() -> None:
    asked = "domstate test --reason; suspend test; domstate test --reason; destroy test; domstate test --reason"
    done = subprocess.run(
        ["virsh", "-q", "-c", "test:///default", asked], capture_output=True, text=True, check=True, env={"LC_ALL": "C"}
    )
    said = [line for line in done.stdout.splitlines() if line and not line.startswith("Domain ")]
    connection = open_connection("test:///default", "kvm1", Settings())
    ours = []
    try:
        domain = connection.lookupByName("test")
        for act in (lambda: None, domain.suspend, domain.destroy):
            act()
            state, reason = state_words(*domain.state(0))
            ours.append(f"{state} ({reason or 'unknown'})")
    finally:
        connection.close()
    assert ours == said


def test_missing_job_statistics_are_zero_and_the_downtime_is_none() -> None:
    assert job_stats({}) == JobStats()
    full = job_stats({"time_elapsed": 1, "data_total": 8, "data_processed": 6, "data_remaining": 2, "downtime": 0})
    assert (full.percent, full.downtime_ms) == (75.0, 0)


# flags and parameters

ONLINE = (MigrationMode.LIVE, MigrationMode.NON_LIVE)
ALL = list(itertools.product(ONLINE, Encryption, (True, False)))


@pytest.mark.parametrize(("mode", "encryption", "is_persistent"), ALL)
def test_a_move_is_driven_by_the_source_arrives_paused_and_is_never_unsafe(
    mode: MigrationMode, encryption: Encryption, is_persistent: bool
) -> None:
    flags = migration_flags(build_plan(mode=mode, encryption=encryption, is_persistent=is_persistent))
    wanted = libvirt.VIR_MIGRATE_PEER2PEER | libvirt.VIR_MIGRATE_PAUSED | libvirt.VIR_MIGRATE_ABORT_ON_ERROR
    wanted |= libvirt.VIR_MIGRATE_LIVE if mode is MigrationMode.LIVE else 0
    wanted |= libvirt.VIR_MIGRATE_PERSIST_DEST if is_persistent else 0
    wanted |= libvirt.VIR_MIGRATE_TLS if encryption is Encryption.TLS else 0
    wanted |= libvirt.VIR_MIGRATE_TUNNELLED if encryption in (Encryption.TUNNELLED, Encryption.AUTO) else 0
    assert flags == wanted  # and so neither UNSAFE, UNDEFINE_SOURCE, POSTCOPY, OFFLINE nor a storage copy


@pytest.mark.parametrize(
    ("uri", "listen"),
    [
        ("tcp://192.0.2.7", "192.0.2.7"),
        ("tcp://[2001:db8::7]", "2001:db8::7"),
        ("tcp://kvm2-migration", None),
        ("tcp://kvm2.example.org", None),
    ],
)
@pytest.mark.parametrize("encryption", [Encryption.NONE, Encryption.TLS])
def test_qemu_listens_on_the_migration_address_alone_when_it_is_numeric(
    uri: str, listen: str | None, encryption: Encryption
) -> None:
    parameters = migration_parameters(build_plan(migration_uri=uri, encryption=encryption))
    expected = {libvirt.VIR_MIGRATE_PARAM_URI: uri}
    if listen is not None:
        expected[libvirt.VIR_MIGRATE_PARAM_LISTEN_ADDRESS] = listen
    assert parameters == expected


def test_a_tunnelled_stream_has_no_address_of_its_own() -> None:
    plan = build_plan(migration_uri="tcp://192.0.2.7", encryption=Encryption.TUNNELLED)
    assert migration_parameters(plan) == {}


def test_bandwidth_and_both_definitions_are_handed_over() -> None:
    plan = build_plan(bandwidth_mib_s=100, dest_xml="<live/>", dest_persistent_xml="<persistent/>")
    assert migration_parameters(plan) == {
        libvirt.VIR_MIGRATE_PARAM_BANDWIDTH: 100,
        libvirt.VIR_MIGRATE_PARAM_DEST_XML: "<live/>",
        libvirt.VIR_MIGRATE_PARAM_PERSIST_XML: "<persistent/>",
    }


@pytest.mark.parametrize("mode", [MigrationMode.LIVE, MigrationMode.NON_LIVE])
@pytest.mark.parametrize("policy", PolicyName)
def test_only_a_live_move_under_auto_converge_is_throttled(policy: PolicyName, mode: MigrationMode) -> None:
    plan = build_plan(policy=policy, mode=mode, encryption=Encryption.TUNNELLED)
    is_throttled = policy is PolicyName.AUTO_CONVERGE and mode is MigrationMode.LIVE
    assert bool(migration_flags(plan) & libvirt.VIR_MIGRATE_AUTO_CONVERGE) is is_throttled
    wanted = {
        libvirt.VIR_MIGRATE_PARAM_AUTO_CONVERGE_INITIAL: 50,
        libvirt.VIR_MIGRATE_PARAM_AUTO_CONVERGE_INCREMENT: 20,
    }
    assert migration_parameters(plan) == (wanted if is_throttled else {})


def test_a_transient_vm_gets_no_persistent_definition() -> None:
    plan = build_plan(is_persistent=False, dest_xml="<live/>", dest_persistent_xml="<persistent/>")
    assert libvirt.VIR_MIGRATE_PARAM_PERSIST_XML not in migration_parameters(plan)
