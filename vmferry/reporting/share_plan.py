"""A plan as an operator would type it: the commands of every host, for the dry run."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from typing import assert_never

from vmferry.model.sharing import Act, Bring, Discard, Edit, Run, SetAside, SharePlan


def act_words(act: Act) -> str:
    """Return one act as a command line."""
    match act:
        case Run():
            command = shlex.join(act.argv)
            if act.only_if:
                return f"if {shlex.join(act.only_if)}; then {command}; fi"
            return f"{shlex.join(act.unless)} || {command}" if act.unless else command
        case Edit():
            text = act.line.replace("\n", "\\n")
            if act.is_there:
                return f"printf '{text}\\n' >>{act.path}"
            return f"remove from {act.path} the line: {text}"
        case Bring():
            return f"scp {act.from_host}:{act.path} {act.to_path}   # verified"
        case Discard():
            return f"rm {act.path}   # only the copy that was brought, while its original is on {act.from_host}"
        case SetAside():
            return f"mv -n {shlex.quote(act.path)} {shlex.quote(act.aside)}"
    assert_never(act)


def plan_lines(plan: SharePlan, *, undo: bool = False) -> Iterator[str]:
    """Yield the plan, or what takes it back, as lines: a comment per step, then its commands with their host."""
    for step in reversed(plan.steps) if undo else plan.steps:
        yield f"# {step.host}: {step.why}"
        for act in step.undo if undo else step.do:
            yield f"{step.host}# {act_words(act)}"
