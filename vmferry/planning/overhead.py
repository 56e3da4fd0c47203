"""What a move takes besides sending memory: eight moves of the lab, less their bytes over the rate of the stream.

On two cores and QEMU 7.2 (docs/decisions/0019-forecast.md); post-copy's are those of the guarded switch, not measured.
"""

from __future__ import annotations

from vmferry.model.migration import MigrationPlan
from vmferry.model.transport import Encryption, Switch

# From the call to the first byte: handshakes of two libvirts, and of QEMU's TLS or of the ssh under the tunnel.
_SETUP_S = {Encryption.NONE: 0.8, Encryption.TLS: 1.2, Encryption.TUNNELLED: 0.95}
# From the last byte until the VM is known to run: for libvirt's own switch that is when its call has returned, while
# the guarded one is seen earlier, by its own event.
_FINISH_S = {Switch.GUARDED: 0.3, Switch.LIBVIRT: 0.47, Switch.POSTCOPY: 0.3}
# How long the VM stands still besides, while the rest of its memory is sent.
_PAUSE_MS = {Switch.GUARDED: 150, Switch.LIBVIRT: 60, Switch.POSTCOPY: 150}
# An offline move beside its copies: looks and a definition.
DEFINITION_S = 0.5


def around_s(plan: MigrationPlan) -> float:
    """Return the seconds before the first byte and after the last one."""
    return _SETUP_S.get(plan.encryption, 1.0) + _FINISH_S[plan.switch]


def pause_ms(plan: MigrationPlan) -> int:
    """Return how long the VM stands still even if nothing is left to be sent."""
    return _PAUSE_MS[plan.switch]
