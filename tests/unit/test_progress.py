"""Progress: listeners are told everything in order, and never delay who tells them."""

from __future__ import annotations

import contextvars
import threading

import pytest

from vmferry.progress import Event, StepStarted, listening, publish

WAIT_S = 10


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
