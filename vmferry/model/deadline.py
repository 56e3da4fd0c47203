"""How long a move may take: what the plan of a run and the rules on the link must agree on."""

from __future__ import annotations

# KubeVirt's completion timeout is 150 s per GiB; the base covers the handshakes of small VMs.
_BASE_S = 120.0
_S_PER_GIB = 150.0


def default_deadline_s(memory_kib: int) -> float:
    """Return after how many seconds the move of that much memory is aborted where no setting says otherwise."""
    return _BASE_S + _S_PER_GIB * memory_kib / 2**20
