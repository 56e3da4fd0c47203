"""The inventory's `constraints`: forms, and every mistake at once with its line."""

from __future__ import annotations

from pathlib import Path

import pytest

from vmferry.errors import InvalidInput, InventoryError
from vmferry.inventory import load_inventory
from vmferry.model.constraint import ConstraintKind, Level
from vmferry.model.host import Inventory
from vmferry.terminal.plan_run import parse_constraints

HOSTS = "hosts: {kvm1: {}, kvm2: {}}\n"


def load(room: Path, text: str) -> Inventory:
    file = room / "inventory.yaml"
    file.write_text(HOSTS + text, encoding="utf-8")
    return load_inventory(file)


def test_constraints_are_read_with_their_place(tmp_path: Path) -> None:
    text = (
        "constraints:\n"
        "  web: {spread: [web1, 'web-*'], level: rack}\n"
        "  db: {fence: db1, hosts: [kvm1], soft: true, continuous: false}\n"
        "  pair: {split: [[a], [b, c]]}\n"
        "  room: {preserve: [kvm1], memory_mib: 2048}\n"
        "  few: {maxOnline: [kvm1, kvm2], limit: 1}\n"
    )
    web, db, pair, room, few = load(tmp_path, text).constraints
    assert (web.kind, web.vms, web.level) == (ConstraintKind.SPREAD, ("web1", "web-*"), Level.RACK)
    assert web.origin == f"{tmp_path}/inventory.yaml:3"
    assert (db.vms, db.hosts, db.is_hard, db.is_continuous) == (("db1",), ("kvm1",), False, False)
    assert pair.groups == (("a",), ("b", "c"))
    assert (room.hosts, room.memory_mib) == (("kvm1",), 2048)
    assert few.limit == 1


def test_every_mistake_is_told_at_once_with_its_line(tmp_path: Path) -> None:
    text = (
        "constraints:\n"
        "  a: {spred: [x]}\n"
        "  b: {fence: [x], hosts: [kvm9]}\n"
        "  c: {spread: [x], gather: [x]}\n"
        "  d: {preserve: [kvm1], memory_mib: -5}\n"
        "  e: {overbook: [kvm1], ratio: 0}\n"
        "  f: 7\n"
        "  g: {ban: [x], hosts: [kvm1], soft: maybe}\n"
        "  h: {spread: [x], level: room}\n"
        "  i: {maxOnline: [kvm1]}\n"
    )
    with pytest.raises(InventoryError) as caught:
        load(tmp_path, text)
    told = "\n".join(caught.value.problems)
    for line, words in ((3, "did you mean 'spread'?"), (4, "unknown hosts kvm9"), (5, "several kinds (spread, gather)"),
                        (6, "below 0"), (7, "ratio above 0"), (8, "must be a mapping"), (9, "true or false"),
                        (10, "'room'"), (11, "needs a limit")):  # fmt: skip
        assert any(f":{line}: " in problem and words in problem for problem in caught.value.problems), (line, told)


@pytest.mark.parametrize("text", ["constraints: [a]\n", "constraints: 7\n"])
def test_constraints_that_are_no_mapping_are_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(InventoryError, match="mapping of name and constraint"):
        load(tmp_path, text)


def test_constraints_of_one_run_are_written_as_in_the_inventory() -> None:
    (made,) = parse_constraints(["spread: [a, b]"])
    assert (made.kind, made.vms, made.origin) == (ConstraintKind.SPREAD, ("a", "b"), "this run")
    with pytest.raises(InvalidInput) as caught:
        parse_constraints(["sprad: [a]", "spread: [a", "ban: [a], hosts: [b]"])
    assert len(caught.value.problems) >= 3
