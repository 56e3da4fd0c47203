"""Questions to a guest, which tell whether it is well."""

from __future__ import annotations

from enum import StrEnum

from vmferry.model.base import Model


class ProbeKind(StrEnum):
    """What is asked of a guest."""

    AGENT = "agent"  # by libvirt, on the host where it is
    PING = "ping"  # the others by the management host, over the network
    TCP = "tcp"
    HTTP = "http"


class Probe(Model):
    """One question to a guest; `target` is empty for the agent."""

    kind: ProbeKind
    target: str = ""

    def words(self) -> str:
        """Return it as it is written."""
        return f"{self.kind} {self.target}".strip()
