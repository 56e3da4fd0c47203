"""`make cancel-test`: cancel evacuations of the lab 50 times at random moments, and print what became of the VMs."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import tempfile
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

from prefect.settings import PREFECT_API_URL, PREFECT_FLOWS_HEARTBEAT_FREQUENCY, PREFECT_HOME, temporary_settings

from infra.lab.lab import need_root
from tests.cancelling.rounds import USUAL, Round, Way, draw, sail
from tests.cancelling.yard import Yard
from tests.prefect_side import PrefectServer


def main() -> int:
    """Run the rounds; exit code 1 when a VM was harmed, or an evacuation did not end as it should."""
    asked = _parse()
    need_root()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # with all that is to be put away
    ways = tuple(Way(way) for way in asked.way) if asked.way else USUAL
    rounds: list[Round] = []
    with tempfile.TemporaryDirectory(prefix="vmferry-cancel-", dir="/var/tmp") as room, ExitStack() as stack:
        server = stack.enter_context(PrefectServer.running(Path(room)))
        state_dir = Path(room) / "state"
        os.environ["VMFERRY_STATE_DIR"] = str(state_dir)  # of the evacuations that this process makes itself
        yard = stack.enter_context(Yard.built(f"cancel-{os.getpid()}", server, state_dir))
        if Way.API in ways:
            stack.enter_context(yard.worker())
        wanted = {PREFECT_API_URL: server.api_url, PREFECT_HOME: room, PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}
        stack.enter_context(temporary_settings(wanted))
        plans = list(enumerate(draw(asked.rounds, asked.seed, ways), start=1))[asked.part[0] - 1 :: asked.part[1]]
        for number, plan in plans:
            rounds.append(sail(yard, plan))
            print(_line(number, rounds[-1]), flush=True)
            if rounds[-1].problems and not asked.go_on:
                break
    print(_summary(rounds, asked.seed))
    return 1 if any(one.problems for one in rounds) or len(rounds) < len(plans) else 0


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.cancelling", description=__doc__)
    parser.add_argument("--rounds", type=int, default=50, help="evacuations to cancel (50)")
    parser.add_argument("--seed", type=int, default=5, help="of all that is random (5)")
    parser.add_argument("--part", type=_part, default=(1, 1), metavar="K/N", help="every Nth round from the Kth (1/1)")
    parser.add_argument("--way", action="append", choices=[way.value for way in Way], help="only this way; repeat it")
    parser.add_argument("--go-on", action="store_true", help="go on after a round with problems")
    return parser.parse_args()


def _part(text: str) -> tuple[int, int]:
    which, _, of = text.partition("/")
    return int(which), int(of)


def _line(number: int, one: Round) -> str:
    plan = one.plan
    second = "" if plan.second_after_s is None or plan.way is Way.API else f" twice ({plan.second_after_s:.2f} s)"
    words = (
        f"{number:>3} {plan.way}{second} {plan.on_cancel}, {plan.moment} + {plan.delay_s:.2f} s: "
        f"[{', '.join(one.at) or 'nothing moves'}] → {one.end}; {_counted(one.outcomes)}; {one.open_after} open; "
        f"longest silence {one.longest_gap_s:.2f} s; {one.seconds:.0f} s"
    )
    return "\n".join([words, *(f"    PROBLEM: {problem}" for problem in one.problems)])


def _counted(outcomes: dict[str, int]) -> str:
    return ", ".join(f"{count} {word}" for word, count in sorted(outcomes.items())) or "nothing was moved"


def _summary(rounds: list[Round], seed: int) -> str:
    outcomes: Counter[str] = Counter()
    stood: Counter[str] = Counter()
    for one in rounds:
        outcomes.update(one.outcomes)
        stood.update(place.split(" ", 1)[1] for place in one.at)
        if not one.at:
            stood["nothing moves yet"] += 1
    lines = [
        f"{len(rounds)} cancellations (seed {seed}): "
        + ", ".join(f"{count} by {way}" for way, count in Counter(str(one.plan.way) for one in rounds).items()),
        f"policy: {dict(Counter(str(one.plan.on_cancel) for one in rounds))}; "
        f"second signals: {sum(one.plan.second_after_s is not None and one.plan.way is not Way.API for one in rounds)}",
        f"where the runs stood: {', '.join(f'{count} {place}' for place, count in sorted(stood.items()))}",
        f"ended: {dict(Counter(one.end for one in rounds))}; moves: {_counted(dict(outcomes))}",
        f"runs that recovery had to settle: {sum(one.open_after for one in rounds)}",
        f"longest silence of a guest: {max((one.longest_gap_s for one in rounds), default=0):.2f} s",
        f"VMs lost, stopped, doubled or left paused: {sum(len(one.problems) for one in rounds)} problems",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
