"""What a move takes besides sending memory; measured in the lab, docs/decisions/0019-forecast.md."""

from __future__ import annotations

from vmferry.model.migration import MigrationPlan
from vmferry.model.transport import Encryption, Switch

# From the call to the first byte, and from the last one until the VM is known to run: handshakes of two libvirts.
_SETUP_S = {Encryption.NONE: 0.8, Encryption.TLS: 0.9, Encryption.TUNNELLED: 1.2}
_FINISH_S = {Switch.GUARDED: 0.3, Switch.LIBVIRT: 0.15, Switch.POSTCOPY: 0.3}
# How long the VM stands still besides, while the rest of its memory is sent.
_PAUSE_MS = {Switch.GUARDED: 250, Switch.LIBVIRT: 60, Switch.POSTCOPY: 250}
# An offline move beside its copies: looks and a definition.
DEFINITION_S = 0.5


def around_s(plan: MigrationPlan) -> float:
    """Return the seconds before the first byte and after the last one."""
    return _SETUP_S.get(plan.encryption, 1.0) + _FINISH_S[plan.switch]


def pause_ms(plan: MigrationPlan) -> int:
    """Return how long the VM stands still even if nothing is left to be sent."""
    return _PAUSE_MS[plan.switch]
