"""Pause the flow run until somebody answers, whatever becomes of the server's own answer to that."""

from __future__ import annotations

import logging
import time
from typing import Any
from uuid import uuid4

from prefect import get_client, pause_flow_run, runtime
from prefect.exceptions import Pause
from prefect.input import RunInput
from prefect.states import Running

logger = logging.getLogger("vmferry.pausing")

_POLL_S = 2
_TRIES = 5


def pause(form: type[RunInput] | None, seconds: int) -> Any:
    """Pause this flow run until it is resumed; return what was filled in, None without a form.

    Raises FlowPauseTimeout when nobody has resumed it in time. A server that pauses the run and whose answer comes too
    late (its database is busy) is asked again by the client, refuses to pause what is paused, and Prefect 3.8.8 then
    ends the process: the run would stay paused for ever, with no form and nobody behind it. So it is paused anew.
    """
    end = time.monotonic() + seconds
    for number in range(_TRIES):
        left_s = max(1, round(end - time.monotonic()))
        try:
            # A key that this run has paused with before is taken for an answer: nobody would be asked.
            return pause_flow_run(form, timeout=left_s, poll_interval=_POLL_S, key=uuid4().hex)
        except Pause as lost:
            if number + 1 == _TRIES:
                raise
            logger.warning("the server's answer to the pause was lost (%s); it is asked for again", lost)
        if _is_resumed() and form is None:
            return None
    raise AssertionError("unreachable")


def _is_resumed() -> bool:
    """Whether somebody has resumed the run meanwhile; it is set going where nobody has."""
    with get_client(sync_client=True) as client:
        run = client.read_flow_run(runtime.flow_run.id)
        if run.state is None or not run.state.is_paused():
            return True
        client.set_flow_run_state(run.id, Running(), force=True)
        return False
