"""Who travels now, in this process: the shares of its runs change when one starts or ends.

The moves of an evacuation run on threads of one process, so its memory is the register. Runs of other processes are
counted as the journal shows them when one of ours starts.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

from vmferry.model.host import Limits
from vmferry.planning.link_shares import Travel, fair_shares

_lock = threading.Lock()
_ours: dict[str, Travel] = {}
_others: dict[str, Travel] = {}
_totals: dict[str, int] = {}
_shares: dict[str, int] = {}


@contextmanager
def travelling(travel: Travel, limits: Mapping[str, Limits], others: Iterable[Travel] = ()) -> Iterator[None]:
    """Count the run among those that share its links for the duration of the block."""
    with _lock:
        _ours[travel.run] = travel
        for host in (travel.source, travel.dest):
            total = limits.get(host, Limits()).total_mib_s
            if total is not None:
                _totals[host] = total
        _others.clear()
        _others.update({other.run: other for other in others})
        _share_anew()
    try:
        yield
    finally:
        with _lock:
            del _ours[travel.run]
            if not _ours:
                _others.clear()
                _totals.clear()
            _share_anew()


def share_of(run: str) -> int | None:
    """Return what a run may use now, MiB/s; None: it is not in the register, or nothing limits it."""
    with _lock:
        return _shares.get(run)


def _share_anew() -> None:
    travels = [*_ours.values(), *(other for run, other in _others.items() if run not in _ours)]
    _shares.clear()
    _shares.update(fair_shares(travels, _totals))
