"""Progress: listeners are told everything in order, and never delay who tells them."""

from __future__ import annotations

import contextvars
import threading
from contextlib import ExitStack

import pytest

from tests.unit.steps.voyage import SCENARIOS, Voyage
from vmferry.adapters.simulated import Blow, Fault, SimulatedCrash
from vmferry.model.migration import JobStats
from vmferry.progress import Event, MoveEnded, MoveProgress, StepStarted, listening, publish
from vmferry.steps.recover import recover
from vmferry.steps.switch import progress_of

WAIT_S = 10
LIVE = SCENARIOS["live"]


def step(number: int) -> StepStarted:
    return StepStarted(run="run-1", vm="web", step=str(number))


def test_a_listener_hears_everything_in_its_order_and_nothing_after_its_block() -> None:
    heard: list[Event] = []
    publish(step(-1))
    with listening(heard.append):
        for number in range(100):
            publish(step(number))
    publish(step(100))
    assert heard == [step(number) for number in range(100)]


def test_a_listener_that_blocks_delays_neither_the_publisher_nor_other_listeners() -> None:
    may_go, others = threading.Event(), threading.Event()
    slow: list[Event] = []

    def block(event: Event) -> None:
        assert may_go.wait(WAIT_S)
        slow.append(event)

    def hear(event: Event) -> None:
        if event == step(99):
            others.set()

    with listening(block), listening(hear):
        for number in range(100):
            publish(step(number))  # comes back although nobody lets the first listener go
        assert others.wait(WAIT_S)
        assert slow == []
        may_go.set()
    assert slow == [step(number) for number in range(100)]


def test_a_listener_that_raises_hears_the_next_event_and_disturbs_nobody(caplog: pytest.LogCaptureFixture) -> None:
    heard: list[Event] = []

    def fail(event: Event) -> None:
        heard.append(event)
        raise RuntimeError("the server is gone")

    with listening(fail):
        publish(step(1))
        publish(step(2))
    assert heard == [step(1), step(2)]
    assert caplog.text.count("a progress listener failed") == 2


def test_an_error_in_the_block_ends_the_listening_and_is_passed_on() -> None:
    heard: list[Event] = []
    with pytest.raises(KeyError), listening(heard.append):
        publish(step(1))
        raise KeyError
    publish(step(2))
    assert heard == [step(1)]


def test_events_of_many_threads_all_arrive_each_threads_in_order() -> None:
    heard: list[StepStarted] = []
    together = threading.Barrier(4)

    def tell(thread: int) -> None:
        together.wait(WAIT_S)
        for number in range(200):
            publish(StepStarted(run=str(thread), vm="web", step=str(number)))

    with listening(lambda event: heard.append(event) if isinstance(event, StepStarted) else None):
        threads = [threading.Thread(target=tell, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(WAIT_S)
    for number in range(4):
        assert [event.step for event in heard if event.run == str(number)] == [str(n) for n in range(200)]


def test_the_same_listener_may_listen_twice() -> None:
    heard: list[Event] = []
    with listening(heard.append), listening(heard.append):
        publish(step(1))
    assert heard == [step(1), step(1)]


def test_a_listener_sees_the_context_of_who_registered_it() -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("flow", default="none")
    seen: list[str] = []
    token = variable.set("registered")
    try:
        with listening(lambda _event: seen.append(variable.get())):
            publisher = threading.Thread(target=publish, args=(step(1),))
            publisher.start()
            publisher.join(WAIT_S)
    finally:
        variable.reset(token)
    assert seen == ["registered"]


@pytest.mark.parametrize("listeners", [1, 5])
def test_what_is_asked_of_a_host_does_not_grow_with_the_listeners(listeners: int) -> None:
    """One sampler per move tells everybody."""
    alone, watched = Voyage(LIVE), Voyage(LIVE)
    heard: list[list[Event]] = [[] for _ in range(listeners)]
    asked_alone = samples_of(alone)
    with ExitStack() as all_of_them:
        for one in heard:
            all_of_them.enter_context(listening(one.append))
        asked = samples_of(watched)
    assert len(asked) == len(asked_alone) > 2
    for one in heard:
        assert [event.stats for event in one if isinstance(event, MoveProgress)] == asked
    assert len(watched.fleet.operations()) == len(alone.fleet.operations())


def samples_of(voyage: Voyage) -> list[JobStats]:
    """Move the VM; return every sample that was taken of its job."""
    asked: list[JobStats] = []
    tell = progress_of(voyage.plan)

    def on_progress(sample: JobStats) -> None:
        asked.append(sample)
        tell(sample)

    voyage.world.hypervisor("kvm1").migrate(voyage.plan, on_progress)
    return asked


def test_a_job_that_recovery_found_running_is_told_too() -> None:
    """Its process died: whoever takes it over publishes its samples."""
    voyage = Voyage(LIVE)
    voyage.fleet.inject(Fault(does=Blow.CRASH_BEFORE, op="migrate", phase="memory"))
    with pytest.raises(SimulatedCrash):
        voyage.sail()
    heard: list[Event] = []
    with listening(heard.append):
        recover(voyage.run, voyage.process())
    assert any(isinstance(event, MoveProgress) for event in heard)
    assert isinstance(heard[-1], MoveEnded)
