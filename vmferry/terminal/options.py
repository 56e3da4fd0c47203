"""Options that several commands share, and pairs like `vda=/path`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from vmferry.inventory.problems import did_you_mean
from vmferry.model.migration import DomainChanges, MigrationMode

InventoryOption = Annotated[
    Path | None,
    typer.Option("--inventory", "-i", metavar="FILE", help="Inventory file; else VMFERRY_INVENTORY."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")]
PairsOption = Annotated[list[str] | None, typer.Option(metavar="HERE=THERE", help="May be repeated.")]
TextOption = Annotated[str | None, typer.Option(metavar="TEXT")]
DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Judge and plan; touch nothing.")]
LiftOption = Annotated[
    list[str] | None,
    typer.Option("--lift", metavar="RULE", help="This rule only warns in this run; is recorded. Repeat it."),
]
FileOption = Annotated[Path | None, typer.Option(metavar="FILE", exists=True, dir_okay=False, readable=True)]


def parse_pairs(values: Sequence[str], option: str, example: str) -> dict[str, str]:
    """`["a=b"]` → {"a": "b"}; raises typer.BadParameter (exit code 2) with the form that is wanted."""
    pairs: dict[str, str] = {}
    for value in values:
        key, sign, target = value.partition("=")
        if not (key and sign and target):
            raise typer.BadParameter(f"{value!r}: write {option} {example}", param_hint=option)
        if pairs.setdefault(key, target) != target:
            raise typer.BadParameter(f"{key!r} is given twice with different values", param_hint=option)
    return pairs


def parse_changes(
    disk: Sequence[str] | None, bridge: Sequence[str] | None, network: Sequence[str] | None
) -> DomainChanges:
    """Return the changes of the destination's XML that the pairs stand for."""
    return DomainChanges(
        disk_sources=parse_pairs(disk or (), "--disk", "vda=/path"),
        bridges=parse_pairs(bridge or (), "--bridge", "br0=br1"),
        networks=parse_pairs(network or (), "--network", "lan=dmz"),
    )


def parse_modes(values: Sequence[str]) -> dict[str, MigrationMode]:
    """`["web=non-live"]` → {"web": NON_LIVE}; a VM's name may hold `=`, so the last one counts."""
    modes: dict[str, MigrationMode] = {}
    known = [mode.value for mode in MigrationMode]
    for value in values:
        vm, sign, word = value.rpartition("=")
        if not (vm and sign):
            raise typer.BadParameter(f"{value!r}: write --mode VM=live|non-live|offline", param_hint="--mode")
        if word not in known:
            text = f"{word!r} is not a mode; {did_you_mean(word, known)}"
            raise typer.BadParameter(text, param_hint="--mode")
        mode = MigrationMode(word)
        if modes.setdefault(vm, mode) is not mode:
            raise typer.BadParameter(f"{vm!r} is given two modes", param_hint="--mode")
    return modes
