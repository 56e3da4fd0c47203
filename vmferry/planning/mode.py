"""Choose how a VM moves."""

from __future__ import annotations

from vmferry.model.migration import MigrationMode
from vmferry.model.vm import DomainState, Vm


def choose_mode(vm: Vm, asked: MigrationMode | None) -> tuple[MigrationMode, str]:
    """Return the mode and why: what was asked, else live, non-live or offline by the state of the VM.

    An impossible combination is returned as it is: the rule `mode-state` refuses it with the way out.
    Source: reference 9.1, Table 9.1.
    """
    if asked is not None:
        return asked, f"{asked} was asked for; the VM is {vm.state}"
    if vm.state is DomainState.PAUSED:
        return MigrationMode.NON_LIVE, "the VM is paused: its memory moves, it stays paused"
    if vm.is_active:
        return MigrationMode.LIVE, f"the VM is {vm.state}: it keeps running during the move"
    return MigrationMode.OFFLINE, f"the VM is {vm.state}: its definition and files move"
