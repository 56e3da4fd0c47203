"""`virsh list --all`: captured tables, and the property that what virsh prints is read back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vmferry.adapters.virsh import parse_virsh_list
from vmferry.errors import PermanentError
from vmferry.model.vm import DomainState

STATES = [str(state) for state in DomainState if state is not DomainState.ABSENT]

# Debian 12, virsh 9.0.0, driver test:///, `LC_ALL=C virsh list --all`.
EMPTY = """ Id   Name   State
--------------------

"""
MIXED = """ Id   Name                  State
--------------------------------------
 1    web 1                 paused
 2    two  blanks           running
 5    shut off              running
 6    is running            running
 10   back\\slash            running
 11   tab\\x09x              running
 -    -dash                 shut off

"""
# In the same form, not captured: the states that driver test:/// cannot show.
ENDING = """ Id   Name    State
------------------------
 4    door    in shutdown
 7    sleepy  pmsuspended
 8    idler   idle
 -    1       crashed
 -    odd     no state

"""


def rows(text: str) -> list[tuple[int | None, str, str]]:
    return [(line.id, line.name, line.state) for line in parse_virsh_list(text)]


def test_an_empty_host_has_no_domains() -> None:
    assert rows(EMPTY) == []


def test_no_output_at_all_is_no_domain() -> None:
    assert rows("") == rows("\n\n") == []


def test_names_keep_their_blanks_dashes_and_words_that_look_like_states() -> None:
    assert rows(MIXED) == [
        (1, "web 1", "paused"),
        (2, "two  blanks", "running"),
        (5, "shut off", "running"),
        (6, "is running", "running"),
        (10, "back\\slash", "running"),
        (11, "tab\\x09x", "running"),
        (None, "-dash", "shut off"),
    ]


def test_every_state_is_known_by_its_words() -> None:
    assert rows(ENDING) == [
        (4, "door", "in shutdown"),
        (7, "sleepy", "pmsuspended"),
        (8, "idler", "idle"),
        (None, "1", "crashed"),
        (None, "odd", "no state"),
    ]


@pytest.mark.parametrize(
    "line",
    [
        " 1    web   dreaming",
        " x    web   running",
        "error: Failed to list domains",
        " 1    webrunning",
        " ١    web   flying",
    ],
)
def test_a_line_that_is_no_domain_is_refused_with_the_line(line: str) -> None:
    with pytest.raises(PermanentError, match="is not understood") as caught:
        parse_virsh_list(f" Id   Name   State\n------\n{line}\n")
    assert repr(line) in str(caught.value)


def table(domains: list[tuple[int | None, str, str]]) -> str:
    """Print as vshTablePrint does: every column as wide as its widest cell, three blanks between."""
    cells = [("Id", "Name", "State"), *(("-" if i is None else str(i), name, state) for i, name, state in domains)]
    wide = [max(len(row[column]) for row in cells) for column in range(3)]
    lines = [" " + "   ".join(cell.ljust(width) for cell, width in zip(row, wide, strict=True)) for row in cells]
    return "\n".join([lines[0], "-" * (sum(wide) + 8), *(line.rstrip() for line in lines[1:])]) + "\n\n"


# A domain's name: no `/`, no newline; virsh writes what is not printable as \\xNN.
names = st.text(
    st.characters(exclude_categories=("C", "Z"), include_characters=" ", exclude_characters="/"), min_size=1
)
domains = st.lists(
    st.tuples(st.none() | st.integers(1, 99999), names.map(str.strip).filter(bool), st.sampled_from(STATES))
)


@given(domains)
def test_what_virsh_prints_is_read_back(listed: list[tuple[int | None, str, str]]) -> None:
    assert rows(table(listed)) == listed


@given(st.text())
def test_any_text_is_parsed_or_refused_and_nothing_else(text: str) -> None:
    try:
        found = parse_virsh_list(f"----\n{text}")
    except PermanentError:
        return
    assert all(line.state in STATES for line in found)
