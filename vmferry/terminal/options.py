"""Options that several commands share, and pairs like `vda=/path`."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated, TypeVar

import typer

from vmferry.inventory.problems import did_you_mean
from vmferry.model.cancelling import OnCancel
from vmferry.model.convergence import PolicyName
from vmferry.model.migration import DomainChanges
from vmferry.model.operation import WayOut

Name = TypeVar("Name", bound=StrEnum)

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
OnCancelOption = Annotated[
    OnCancel | None,
    typer.Option(help="What Ctrl-C, SIGTERM or a cancel does to running moves; else VMFERRY_ON_CANCEL, finish."),
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


def parse_ways(values: Sequence[str]) -> dict[str, WayOut]:
    """`["web=non-live"]` → {"web": NON_LIVE}; a VM's name may hold `=`, so the last one counts."""
    modes: dict[str, WayOut] = {}
    for value in values:
        vm, sign, word = value.rpartition("=")
        if not (vm and sign):
            raise typer.BadParameter(f"{value!r}: write --mode VM={'|'.join(WayOut)}", param_hint="--mode")
        mode = _known(word, WayOut, "--mode")
        if modes.setdefault(vm, mode) is not mode:
            raise typer.BadParameter(f"{vm!r} is given two modes", param_hint="--mode")
    return modes


def parse_policies(values: Sequence[str]) -> tuple[PolicyName | None, dict[str, PolicyName]]:
    """`["auto-converge", "db=very-large-vm"]` → AUTO_CONVERGE for all, {"db": VERY_LARGE_VM}."""
    policies: dict[str, PolicyName] = {}
    for value in values:
        vm, sign, word = value.rpartition("=")
        if sign and not vm:
            raise typer.BadParameter(f"{value!r}: write --policy POLICY or VM=POLICY", param_hint="--policy")
        policy = _known(word, PolicyName, "--policy")
        if policies.setdefault(vm, policy) is not policy:
            raise typer.BadParameter(f"{vm or 'the host'!r} is given two policies", param_hint="--policy")
    return policies.pop("", None), policies


def _known(word: str, names: type[Name], option: str) -> Name:
    known = [name.value for name in names]
    if word not in known:
        raise typer.BadParameter(f"{word!r} is not known; {did_you_mean(word, known)}", param_hint=option)
    return names(word)
