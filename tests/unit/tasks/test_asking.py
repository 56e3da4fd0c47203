"""Asking a person at the terminal."""

from __future__ import annotations

import os
import pty
import sys
from collections.abc import Iterator

import pytest

from tasks.asking import await_person
from vmferry.errors import NotAgreed


@pytest.fixture
def keyboard(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """A terminal on standard input; write to it what is typed."""
    typed, seen = pty.openpty()
    monkeypatch.delenv("PREFECT__FLOW_RUN_ID", raising=False)
    with os.fdopen(seen, "r") as terminal:
        monkeypatch.setattr(sys, "stdin", terminal)
        yield typed
    os.close(typed)


def test_enter_is_a_yes(keyboard: int) -> None:
    os.write(keyboard, b"\n")
    await_person("work on kvm1", 1)


@pytest.mark.parametrize("word", [b"no\n", b""], ids=["a word", "nothing"])
def test_a_word_or_no_answer_in_time_is_none(keyboard: int, word: bytes) -> None:
    os.write(keyboard, word)
    with pytest.raises(NotAgreed, match="work on kvm1: nobody has said"):
        await_person("work on kvm1", 0.001)
