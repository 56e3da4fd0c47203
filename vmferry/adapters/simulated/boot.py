"""Commands on a simulated host, and its reboot."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar
from uuid import uuid5

from vmferry.adapters.simulated.port import SimulatedPort
from vmferry.adapters.simulated.state import SimHost
from vmferry.model.roll import BootFacts, CommandDone

T = TypeVar("T")


class SimulatedBoot(SimulatedPort):
    """The part of a host's tools that works on the host itself."""

    def _ask(self, op: str, subject: str, effect: Callable[[SimHost], T], *, is_write: bool, peer: str = "") -> T:
        raise NotImplementedError

    def run_command(self, argv: Sequence[str], timeout_s: float) -> CommandDone:
        """Do what the fleet's test says that commands do: nothing, and well."""

        def run(host: SimHost) -> CommandDone:
            return self._ground.command(host.name, tuple(argv))

        return self._ask("run_command", " ".join(argv), run, is_write=True)

    def read_boot(self) -> BootFacts:
        """Return which boot this is, and the units that have failed in it."""

        def read(host: SimHost) -> BootFacts:
            return BootFacts(boot_id=str(uuid5(host.uuid, str(host.boots))), failed_units=host.failed_units)

        return self._ask("read_boot", "", read, is_write=False)

    def reboot(self) -> None:
        """Let the host go down and come back."""
        self._ask("reboot", "", lambda host: self._ground.reboot(host.name), is_write=True)
