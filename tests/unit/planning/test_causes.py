"""Causes of failed moves: what is one cause, where it lies, what is avoided for the rest of a run."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from vmferry.model.operation import Place
from vmferry.planning.causes import avoided, cause_of
from vmferry.planning.gate import Ended

NOW = datetime(2026, 1, 10, 22, 0, tzinfo=UTC)


# Reasons as runs of the lab and of the simulated fleet told them.
@pytest.mark.parametrize(
    ("reason", "place"),
    [
        ("host kvm2: libvirt at qemu+ssh://root@kvm2/system did not answer within 10 s; try `virsh -c …`", Place.DEST),
        ("vm web: source running (booted), dest unreachable (kvm2: no answer in 5 s)", Place.DEST),
        ("operation failed: migration out: unable to connect to server at '10.1.0.2:49152': refused", Place.LINK),
        ("host kvm1: ssh: connection to root@kvm1 was lost", Place.SOURCE),
        ("internal error: cannot allocate memory", Place.DEST),
        ("vm web: kvm2 was cordoned meanwhile (new memory); choose another host", Place.DEST),
        ("vm web: changed since preflight (paused; planned: running on kvm1, absent on kvm2, no job)", Place.VM),
        ("vm web: cancelled by SIGINT", Place.ASKED),
        ("something new", Place.UNKNOWN),
    ],
)
def test_a_reason_tells_where_its_cause_lies(reason: str, place: Place) -> None:
    assert cause_of(reason, "web", "kvm1", "kvm2").place is place


def test_names_numbers_and_paths_of_a_vm_do_not_make_another_cause() -> None:
    one = cause_of("vm web1: aborted after 31.5 s: /srv/web1.qcow2 of run 20260110-220000-0a1b2c3d", "web1", "a", "b")
    other = cause_of("vm db: aborted after 7 s: /srv/db.img of run 20260110-220107-ffffffff", "db", "a", "b")
    assert one == other
    assert one.text == "aborted after N s: PATH of run RUN"


def test_hosts_stay_in_the_cause() -> None:
    assert "kvm2" in cause_of("kvm2: no answer in 5 s", "web", "kvm1", "kvm2").text


def ended(vm: str, reason: str, dest: str = "kvm2") -> Ended:
    cause = cause_of(reason, vm, "kvm1", dest)
    return Ended(
        vm=vm,
        uuid=vm,
        source="kvm1",
        dest=dest,
        started_at=NOW,
        ended_at=NOW + timedelta(seconds=1),
        cause=cause,
    )


def test_a_destination_that_broke_is_avoided_by_all() -> None:
    found = avoided([ended("web", "kvm2: no answer in 5 s")])
    assert "kvm2 is avoided: web failed there" in found.why_not("other", "kvm1", "kvm2")
    assert found.why_not("other", "kvm1", "kvm3") == ""


def test_a_link_that_broke_is_avoided_and_its_ends_are_not() -> None:
    found = avoided([ended("web", "broken pipe")])
    assert found.why_not("other", "kvm1", "kvm2") and not found.why_not("other", "kvm3", "kvm2")


def test_what_is_wrong_with_a_vm_keeps_only_that_vm_away() -> None:
    found = avoided([ended("web", "vm web: it did not converge within its deadline")])
    assert found.why_not("web", "kvm1", "kvm2") and not found.why_not("other", "kvm1", "kvm2")


def test_two_vms_that_fail_for_odd_reasons_at_one_destination_close_it() -> None:
    one, other = ended("web", "odd"), ended("db", "strange")
    assert not avoided([one]).why_not("mail", "kvm1", "kvm2")
    assert "web, db failed there" in avoided([one, other]).why_not("mail", "kvm1", "kvm2")
