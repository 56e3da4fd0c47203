"""What one look at one host shows of one VM."""

from __future__ import annotations

from typing import Any

from pydantic import model_validator

from vmferry.model.base import Model
from vmferry.model.vm import DomainState


class Sighting(Model):
    """State, reason and job of a domain on one host; `is_reachable` False means that nothing is known.

    The state of a host that did not answer is `no state`, which counts as active: never as absent.
    """

    host: str
    is_reachable: bool = True
    state: DomainState = DomainState.ABSENT
    # virDomain*Reason in virsh's words (`virsh domstate --reason`): migrated, migrating, user, crashed, …
    reason: str = ""
    has_job: bool = False
    is_persistent: bool = False
    detail: str = ""

    @model_validator(mode="before")
    @classmethod
    def _nothing_is_known(cls, values: dict[str, Any]) -> dict[str, Any]:
        return values if values.get("is_reachable", True) else {"state": DomainState.NOSTATE, **values}

    def words(self) -> str:
        """virsh's words: `paused (user)`."""
        if not self.is_reachable:
            return f"unreachable ({self.detail})"
        return f"{self.state} ({self.reason})" if self.reason else str(self.state)


class ListedDomain(Model):
    """One line of `virsh list --all`."""

    id: int | None
    name: str
    state: str
