"""Errors are sorted by what may be done next, and travel between processes whole."""

from __future__ import annotations

import pickle
from collections.abc import Iterator

import pytest

from vmferry import errors
from vmferry.errors import InvalidInput, PermanentError, TransientError, UnsafeError, VmferryError


def below(kind: type[VmferryError]) -> Iterator[type[VmferryError]]:
    yield kind
    for sub in kind.__subclasses__():
        yield from below(sub)


ALL = sorted(
    (kind for kind in below(VmferryError) if kind.__module__ == errors.__name__), key=lambda kind: kind.__name__
)
NEXT = (TransientError, PermanentError, UnsafeError)


def test_every_error_says_one_thing_about_what_may_be_done_next() -> None:
    for kind in set(ALL) - {VmferryError}:
        assert sum(issubclass(kind, action) for action in NEXT) == 1, kind


@pytest.mark.parametrize("kind", ALL)
def test_an_error_travels_between_processes_whole(kind: type[VmferryError]) -> None:
    error = kind("vm web: it failed", vm="web", host="kvm1")
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is kind
    assert (str(copy), copy.vm, copy.host) == ("vm web: it failed", "web", "kvm1")


@pytest.mark.parametrize("kind", sorted(below(InvalidInput), key=lambda kind: kind.__name__))
def test_wrong_input_keeps_every_problem_and_has_at_least_its_message(kind: type[InvalidInput]) -> None:
    copy = pickle.loads(pickle.dumps(kind("two problems", problems=("one", "two"))))
    assert copy.problems == ("one", "two")
    assert kind("only this").problems == ("only this",)
