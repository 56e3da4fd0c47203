"""Many moves of one fleet, judged with one policy: what was asked once is not asked again."""

from __future__ import annotations

from collections.abc import Iterable

from vmferry.errors import InvalidInput
from vmferry.model.convergence import PolicyName
from vmferry.model.findings import PreflightReport
from vmferry.model.migration import MigrationMode
from vmferry.model.vm import Vm
from vmferry.rules.case import Case, Fleet
from vmferry.rules.check import Memo, check_loss, check_move, is_barred
from vmferry.rules.policy import Policy, check_lifted


class Judge:
    """Judges moves of `fleet`; `lifted` are the rules whose blocks only warn. Raises InvalidInput for impossible ones.

    Shared by threads it may ask a rule twice, never wrongly.
    """

    def __init__(self, fleet: Fleet, lifted: Iterable[str] = ()) -> None:
        wanted = tuple(lifted)
        if problems := check_lifted(wanted):
            raise InvalidInput("lift: " + "; ".join(problems), problems=tuple(f"lift: {p}" for p in problems))
        self.fleet = fleet
        self.policy = Policy.of(fleet.snapshot.inventory.rules, wanted)
        self._memo = Memo()
        self._loss_memo = Memo()
        self._source = ""
        self._cases: dict[tuple[int, str, MigrationMode], Case] = {}

    def case(self, vm: Vm, source: str, dest: str, mode: MigrationMode, policy: PolicyName | None = None) -> Case:
        """Return the case of one move of a VM of the fleet; raises NotFound.

        Those of the last source are kept, with what was worked out about them: the loss of a host asks again.
        """
        if source != self._source:
            self._source, self._cases = source, {}
        key = (id(vm), dest, mode)  # the case holds the VM: no other one can have its id meanwhile
        case = self._cases.get(key)
        if case is None or case.source.name != source or case.policy is not policy:
            case = self._cases[key] = self.fleet.case(vm, source, dest, mode, policy=policy)
        return case

    def check(self, case: Case) -> PreflightReport:
        """Return all findings of one move."""
        return check_move(case, self.policy, self._memo)

    def is_barred(self, case: Case) -> bool:
        """Whether the VM alone, or the two hosts alone, forbid the move: quick, the rest only `check` tells."""
        return is_barred(case, self.policy, self._memo)

    def check_loss(self, case: Case) -> PreflightReport:
        """Return what would keep the VM from being started on the destination if its source were dead."""
        return check_loss(case, self.policy, self._loss_memo)
