"""Pause the flow run until somebody answers, whatever becomes of the server's own answer to that."""

from __future__ import annotations

import logging
import time
from typing import Any
from uuid import uuid4

from prefect import get_client, pause_flow_run, runtime
from prefect.client.schemas.objects import State
from prefect.exceptions import Pause
from prefect.input import RunInput
from prefect.states import Running

from vmferry.errors import NotAgreed

logger = logging.getLogger("vmferry.pausing")

_POLL_S = 2
_TRIES = 5


def pause(form: type[RunInput] | None, seconds: int) -> Any:
    """Pause this flow run until it is resumed; return what was filled in, None without a form.

    Raises FlowPauseTimeout when nobody has resumed it in time, NotAgreed when the server would not have it.

    A server that pauses the run and answers too late (its database is busy) is asked again by the client, refuses to
    pause what is paused, and Prefect 3.8.8 then ends the process: the run would stay paused for ever, with no form and
    nobody behind it. So it is paused anew.
    """
    end = time.monotonic() + seconds
    for _ in range(_TRIES):
        left_s = max(1, round(end - time.monotonic()))
        try:
            # A key that this run has paused with before is taken for an answer: nobody would be asked.
            return pause_flow_run(form, timeout=left_s, poll_interval=_POLL_S, key=uuid4().hex)
        except Pause as lost:
            state = _set_going()
            if state is None or not (state.is_paused() or state.is_running()):
                raise  # somebody has cancelled it: nobody has agreed to anything
            logger.warning("the server's answer to the pause was lost (%s); it is asked for again", lost)
            if state.is_running() and form is None:
                return None  # somebody has resumed it meanwhile
    raise NotAgreed(
        f"flow run {runtime.flow_run.id}: the Prefect server's answer to its pause was lost {_TRIES} times, so nobody "
        "could be asked; nothing further was done; look at the server's log and database, then start it again"
    )


def _set_going() -> State[Any] | None:
    """Return the run's state as the server has it; one that is paused is running after that."""
    with get_client(sync_client=True) as client:
        run = client.read_flow_run(runtime.flow_run.id)
        if run.state is not None and run.state.is_paused():
            client.set_flow_run_state(run.id, Running(), force=True)
        return run.state
