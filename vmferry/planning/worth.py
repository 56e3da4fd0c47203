"""Is a consolidating move worth its cost: watts × hours saved against seconds, bytes and downtime. Pure.

"Nothing worth doing" is a good answer, and comes with the figures. docs/decisions/0025-usage-and-worth.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta

from vmferry.model.evacuation import Move
from vmferry.model.host import Host
from vmferry.model.journal import RunRecord
from vmferry.model.migration import OutcomeKind
from vmferry.model.worth import HostPrice, MovePrice, Saving, Worth, WorthPolicy

# Energy of one live migration: 0.512 J per MB sent and 20.2 J besides (Liu et al., HPDC 2011, Xen and KVM hosts).
_J_PER_MB, _J_PER_MOVE = 0.512, 20.2
_MB = 10**6
_J_PER_WH = 3600.0
# A host whose watts nobody told: two sockets of the last ten years, idle and loaded.
ASSUMED_IDLE_WATTS, ASSUMED_MAX_WATTS = 100.0, 250.0


def price_move(move: Move, policy: WorthPolicy) -> MovePrice:
    """Return what a planned move costs; without a forecast its memory and copies are taken as what is sent."""
    forecast = move.forecast
    seconds = (forecast.all_seconds if forecast is not None else None) or 0.0
    downtime_ms = (forecast.downtime_ms if forecast is not None else None) or 0
    sent = move.memory_kib * 1024 + move.copy_bytes
    if forecast is not None and forecast.rate_mib_s and forecast.seconds:  # pre-copy sends some pages again
        sent = max(sent, round(forecast.seconds * forecast.rate_mib_s * 2**20))
    return price(move.vm, seconds, sent, downtime_ms, policy)


def price(vm: str, seconds: float, sent_bytes: int, downtime_ms: int, policy: WorthPolicy) -> MovePrice:
    """Return what moving a VM costs in Wh: energy of the transfer, the downtime, and that it is moved at all."""
    energy_wh = (_J_PER_MB * sent_bytes / _MB + _J_PER_MOVE) / _J_PER_WH
    wh = energy_wh + policy.move_price_wh + policy.downtime_price_wh_s * downtime_ms / 1000
    return MovePrice(vm=vm, seconds=seconds, sent_bytes=sent_bytes, downtime_ms=downtime_ms, wh=wh)


def price_host(host: Host) -> HostPrice:
    """Return what the inventory says of a host's draw, or what is assumed."""
    energy = host.energy
    return HostPrice(
        host=host.name,
        idle_watts=ASSUMED_IDLE_WATTS if energy.idle_watts is None else energy.idle_watts,
        max_watts=ASSUMED_MAX_WATTS if energy.max_watts is None else energy.max_watts,
        weight=energy.weight,
        is_assumed=energy.idle_watts is None,
    )


def cost_per_useful_hour(price: HostPrice, cpus: float) -> float:
    """Return the weighted watts that a host draws for each CPU that it offers: the dearest hosts are emptied first."""
    return price.weight * price.idle_watts / max(cpus, 1e-9)


def judge_emptying(
    moves: Mapping[str, Sequence[MovePrice]], prices: Mapping[str, HostPrice], policy: WorthPolicy
) -> Worth:
    """Judge the emptying of hosts: each one alone, then all that are worth it together.

    `moves` holds, per host that would be emptied, the moves that it takes; those that only make room count for the
    host for which they are made. Order of the result: that of `moves`. Never raises; no hosts is "nothing to do".
    """
    savings: list[Saving] = []
    made = 0
    for host, needed in moves.items():
        saving = _judge(prices[host], needed, policy, left=policy.max_moves - made)
        made += len(needed) if saving.is_worth else 0
        savings.append(saving)
    chosen = [saving for saving in savings if saving.is_worth]
    net_wh = sum(saving.net_wh for saving in chosen)
    if not savings:
        return Worth(savings=(), is_worth=False, reason="nothing worth doing: no host can be emptied")
    if not chosen:
        best = max(savings, key=lambda saving: saving.net_wh)
        return Worth(savings=tuple(savings), is_worth=False, reason=f"nothing worth doing: {best.host}: {best.reason}")
    words = f"{_wh(net_wh)} net in {policy.hours:g} h for {made} moves"
    if net_wh < policy.min_gain_wh:
        reason = f"nothing worth doing: {words}, less than {_wh(policy.min_gain_wh)}"
        return Worth(savings=tuple(savings), is_worth=False, reason=reason)
    return Worth(savings=tuple(savings), is_worth=True, reason=words)


def _judge(host: HostPrice, moves: Sequence[MovePrice], policy: WorthPolicy, *, left: int) -> Saving:
    gain = host.weight * host.idle_watts * policy.hours
    cost = sum(move.wh for move in moves)
    figures = f"saves {_wh(gain)} in {policy.hours:g} h, its {len(moves)} moves cost {_wh(cost)}"
    if gain < policy.payback * cost or gain <= cost:
        is_worth, reason = False, f"{figures}: less than {policy.payback:g} times that"
    elif len(moves) > left:
        is_worth, reason = False, f"{figures}; only {max(0, left)} of {policy.max_moves} moves are left for this run"
    else:
        is_worth, reason = True, figures
    return Saving(
        host=host.host,
        watts=host.idle_watts,
        gain_wh=gain,
        cost_wh=cost,
        moves=tuple(moves),
        is_worth=is_worth,
        reason=reason,
    )


def _wh(value: float) -> str:
    return f"{value / 1000:.1f} kWh" if abs(value) >= 1000 else f"{value:.0f} Wh"


def resting_vms(runs: Iterable[RunRecord], now: datetime, policy: WorthPolicy) -> dict[str, str]:
    """Return vm uuid → why it is left alone: it moved, or a move of it failed, not long ago."""
    since = now - timedelta(hours=policy.vm_cooldown_h)
    found: dict[str, str] = {}
    for run in runs:
        if run.closed_at is None or run.closed_at < since:
            continue
        hours = (now - run.closed_at).total_seconds() / 3600
        word = "moved" if run.outcome is OutcomeKind.MOVED else "was to be moved"
        found.setdefault(str(run.plan.uuid), f"{word} {hours:.1f} h ago, rests for {policy.vm_cooldown_h:g} h")
    return found


def resting_hosts(runs: Iterable[RunRecord], now: datetime, policy: WorthPolicy) -> dict[str, str]:
    """Return host → why it is not emptied: VMs have arrived not long ago."""
    since = now - timedelta(hours=policy.host_cooldown_h)
    found: dict[str, str] = {}
    for run in runs:
        if run.closed_at is None or run.closed_at < since or run.outcome is not OutcomeKind.MOVED:
            continue
        hours = (now - run.closed_at).total_seconds() / 3600
        text = f"{run.plan.vm} arrived {hours:.1f} h ago, rests for {policy.host_cooldown_h:g} h"
        found.setdefault(run.plan.dest, text)
    return found


def hosts_to_switch_off(
    emptied: Sequence[str], online: int, *, min_online: int, spare_hosts: int
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return (hosts that may be switched off, hosts that stay on, empty, as the reserve).

    `online` hosts are on now, the emptied ones among them. The reserve takes the last emptied: they cost least.
    """
    most_off = max(0, min(len(emptied) - spare_hosts, online - min_online))
    return tuple(emptied[:most_off]), tuple(emptied[most_off:])
