"""Whether two bridges are one layer-2 network, judged from pings through the bridge and the neighbours found there."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from dataclasses import dataclass

from vmferry.model.facts import BridgeQuestion, SameNetwork

_MAC = re.compile(r"\blladdr ([0-9a-fA-F:]+)")


@dataclass(frozen=True)
class Tried:
    """One address of the other bridge that was pinged through ours.

    `neighbour` is the line of `ip neighbour` afterwards; `has_own_address`: our bridge has one of the same family.
    """

    target: str
    is_answered: bool = False
    words: str = ""
    has_own_address: bool = False
    neighbour: str = ""
    is_missing: bool = False  # there is no such bridge here

    @property
    def mac(self) -> str | None:
        """The hardware address that answers for the target, where it answered just now.

        An entry that was known before and was not asked again (STALE) may be of last week.
        """
        found = _MAC.search(self.neighbour)
        is_fresh = self.is_answered or "REACHABLE" in self.neighbour
        return found[1].lower() if found and is_fresh and "FAILED" not in self.neighbour else None

    @property
    def is_link_local(self) -> bool:
        """Whether no router may carry packets to the target."""
        return ipaddress.ip_address(self.target).is_link_local


def judge_network(question: BridgeQuestion, tried: Sequence[Tried]) -> SameNetwork:
    """Return the verdict: one proof is enough, else one silence, else it could not be told."""
    verdicts = [_verdict(question, one) for one in sorted(tried, key=lambda one: question.targets.index(one.target))]
    for is_same in (True, False, None):
        words = [text for verdict, text in verdicts if verdict is is_same]
        if words:
            break
    else:
        is_asked = "the probe ended without an answer"
        is_same, words = None, [is_asked if question.targets else f"{question.dest_bridge} has no address to try"]
    return SameNetwork(
        bridge=question.bridge,
        dest_bridge=question.dest_bridge,
        is_same=is_same,
        detail="; ".join(dict.fromkeys(words[:1] if is_same else words)),
    )


def _verdict(question: BridgeQuestion, tried: Tried) -> tuple[bool | None, str]:
    """Judge one target.

    An answer from beyond a router proves nothing, so the neighbour decides. Linux answers ARP for all of its
    addresses on all of its cards (arp_ignore 0): only the hardware address tells which card is on this network.
    """
    bridge, far = question.bridge, question.dest_bridge
    if tried.is_missing:
        return None, f"there is no device {bridge} on the source"
    if tried.mac is None and not (tried.is_answered and tried.is_link_local):
        if tried.is_answered:
            return None, f"{tried.target} answered, but through a router and not on {bridge} itself"
        if not tried.has_own_address:
            return None, f"{bridge} has no address on the source to ask {tried.target} from"
        return False, f"{tried.target} ({far}) does not answer on {bridge}: {tried.words or 'no answer'}"
    if tried.mac is not None and question.mac is not None and tried.mac != question.mac.lower():
        return None, f"{tried.target} is answered on {bridge} by {tried.mac}, but {far} is {question.mac}"
    how = "answered" if tried.is_answered else "is a neighbour"
    return True, f"{tried.target} {how} on {bridge}" + (f" as {tried.mac}" if tried.mac else "")
