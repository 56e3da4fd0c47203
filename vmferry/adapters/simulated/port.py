"""What the simulated ports share: every call passes the gate, costs time and finds its host, or does not."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from vmferry.adapters.simulated.faults import Operation
from vmferry.adapters.simulated.ground import Ground

T = TypeVar("T")
CALL_S = 0.01


class SimulatedPort:
    """One host seen through one port."""

    port = ""

    def __init__(self, ground: Ground, host: str) -> None:
        self.host = host
        self._ground = ground

    def close(self) -> None:
        """Nothing is open."""

    def _operation(
        self, op: str, subject: object = "", *, is_write: bool, phase: str = "", peer: str = ""
    ) -> Operation:
        return Operation(
            seq=0,
            port=self.port,
            host=self.host,
            op=op,
            phase=phase,
            subject=str(subject),
            peer=peer,
            is_write=is_write,
            at=self._ground.now(),
        )

    def _call(self, operation: Operation, effect: Callable[[], T]) -> T:
        """Pass the gate, make the effect, pass the gate again; the answer is written down in any case."""
        gate = self._ground.gate
        operation = gate.admit(operation)
        answer = "ok"
        try:
            blow = gate.enter(operation)
            result = effect()
            gate.leave(operation, blow)
            return result
        except BaseException as error:
            answer = type(error).__name__
            raise
        finally:
            gate.answer(operation, answer)
