"""Cases of the rules in vmferry/rules/state.py."""

from __future__ import annotations

from dataclasses import replace

from tests.unit.builders import (
    build_off_vm,
    build_vm,
)
from tests.unit.rules.cases.making import Makers, make, off, on
from tests.unit.rules.cases.real import captured, file_disk, written
from vmferry.model.migration import MigrationMode
from vmferry.model.vm import DomainState

# rule → (cases with a finding, cases without)
CASES: dict[str, tuple[Makers, Makers]] = {
    "xml-unreadable": (
        (
            lambda: on(problems=("no <uuid>",)),
            lambda: written("<disk type='file'><source file='/a'/></disk>"),
            lambda: captured("disk-same-targets"),
        ),
        (on, lambda: written(file_disk())),
    ),
    "xml-other-vm": ((lambda: replace(on(), arriving=build_vm("other")),), (on,)),
    "mode-state": (
        (
            lambda: make(mode=MigrationMode.OFFLINE),
            lambda: make(build_off_vm(), mode=MigrationMode.LIVE),
            lambda: make(build_off_vm(), mode=MigrationMode.NON_LIVE),
            lambda: make(build_vm(state=DomainState.PAUSED), mode=MigrationMode.OFFLINE),
        ),
        (on, off, lambda: on(state=DomainState.PAUSED, state_reason="user")),
    ),
    "state-unmovable": (
        (
            lambda: on(state=DomainState.PAUSED, state_reason="I/O error"),
            lambda: on(state=DomainState.PAUSED, state_reason="watchdog"),
            lambda: on(state=DomainState.PAUSED, state_reason=""),
            lambda: on(state=DomainState.PAUSED, state_reason="migrating"),
            lambda: on(state=DomainState.RUNNING, state_reason="post-copy failed"),
            lambda: on(state=DomainState.CRASHED),
            lambda: on(state=DomainState.PMSUSPENDED),
            lambda: on(state=DomainState.SHUTDOWN),
            lambda: on(state=DomainState.NOSTATE),
        ),
        (
            on,
            off,
            lambda: on(state=DomainState.PAUSED, state_reason="user"),
            lambda: on(state=DomainState.BLOCKED),
        ),
    ),
    "active-job": (
        (
            lambda: on(has_active_job=True),
            lambda: on(has_active_job=True, state=DomainState.PAUSED, state_reason="saving"),
        ),
        (on, lambda: captured("disk-mirror")),
    ),
    "snapshots": ((lambda: on(snapshots=3), lambda: off(snapshots=1)), (on,)),
    "checkpoints": ((lambda: on(checkpoints=1),), (on,)),
    "managed-save": ((lambda: off(has_managed_save=True),), (off,)),
    "transient-offline": ((lambda: off(is_persistent=False),), (off, lambda: on(is_persistent=False))),
}
