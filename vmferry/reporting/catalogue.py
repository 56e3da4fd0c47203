"""What each error and each state means, and what is typed next: one table for people."""

from __future__ import annotations

from collections.abc import Iterator

from vmferry import errors
from vmferry.errors import PermanentError, TransientError, UnsafeError, VmferryError

# Every class of vmferry.errors → what is typed next.
NEXT: dict[type[VmferryError], str] = {
    errors.HostUnreachable: "`vmferry hosts`; ssh to the host by hand; then the same command again",
    errors.HostBusy: "`virsh domjobinfo VM` on the host shows who holds it; then the same command again",
    errors.InvalidInput: "correct every line that was told; nothing was touched",
    errors.InventoryError: "`vmferry inventory check`",
    errors.NotFound: "`vmferry vms`, `vmferry hosts`, `vmferry runs` show what there is",
    errors.ProgramMissing: "install the program that is named on the host; then the same command again",
    errors.PreflightBlocked: "`vmferry check VM`; [rules](rules.md) has the remedies; `--lift RULE` where it may be",
    errors.Frozen: "`vmferry unfreeze`, when the reason that is shown is over",
    errors.NotAgreed: "start the run again when somebody is there; `approval: {minutes: …}` waits longer",
    errors.AlreadyMoving: "`vmferry runs` shows the other run; `vmferry recover`, when its process is dead",
    errors.CopyFailed: "free space, or mend the link that is named; the same command again: the source is unchanged",
    errors.MoveFailed: "read the reason; another host, `--mode` or `--policy`; the VM runs where it ran",
    errors.LeftBehind: "`vmferry vms HOST`; [why a VM did not move](faq.md); then the same command again",
    errors.OutcomeUnknown: "the commands that are shown; then `vmferry recover`",
    errors.Held: "the commands that are shown; then `vmferry recover` ([runbook](operator-guide.md#a-run-is-held))",
}
PROMISES: dict[type[VmferryError], str] = {
    TransientError: "nothing changed, or the step may be repeated: vmferry tries again by itself",
    PermanentError: "the world is known, and again gives the same: undone, reported, next VM",
    UnsafeError: "nothing automatic may happen: a human looks",
}


def error_classes() -> tuple[type[VmferryError], ...]:
    """Return every class that vmferry raises, in the order of vmferry.errors; not the ones that only sort them."""
    found = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, VmferryError)]
    return tuple(kind for kind in found if kind is not VmferryError and kind not in PROMISES)


def promise_of(kind: type[VmferryError]) -> type[VmferryError]:
    """Return the class that says what may be done next."""
    return next(base for base in PROMISES if issubclass(kind, base))


def error_rows() -> Iterator[tuple[str, str, str, str]]:
    """Yield (name, class, meaning, next) of every error."""
    for kind in error_classes():
        meaning = (kind.__doc__ or "").strip().splitlines()[0].rstrip(".")
        yield kind.__name__, promise_of(kind).__name__, meaning, NEXT[kind]


# State of a flow run in the Prefect UI → what is true, what to do.
RUN_STATES: tuple[tuple[str, str, str], ...] = (
    (
        "Scheduled, Late",
        "no worker has taken it",
        "is one up? `prefect work-pool ls`; is the pool or the queue paused?",
    ),
    ("AwaitingConcurrencySlot", "another run of this deployment goes on", "wait, or cancel one of them"),
    ("Paused", "it waits for people; nothing is touched", "Resume: fill in the form"),
    ("Running", "VMs move: Artifacts show each", "nothing; Cancel finishes or aborts what runs, by `on_cancel`"),
    ("Completed", "all is done; `With findings`: an audit found something", "read the report in Artifacts"),
    ("Failed", "something is left, refused or HELD; the message says what", "the commands in the report"),
    ("Cancelled", "somebody asked; what ran was ended first", "`vmferry recover`, when it was killed meanwhile"),
    ("Crashed", "its process died", "`vmferry recover`; its heir or the schedule does the same"),
)
