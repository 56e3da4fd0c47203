"""Cases for property tests: the ingredients of several cases, and of real domains, thrown together.

What comes out need not make sense, and that is the point: a rule must say the same of it alone and in company.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import chain
from typing import Any, TypeVar

from hypothesis import strategies as st

from tests.unit.builders import build_facts, build_host, build_snapshot, build_uuid
from tests.unit.domxml.samples import FILES
from tests.unit.rules.cases import CASES
from tests.unit.rules.cases.making import DEST, SOURCE
from vmferry.domxml.read import parse_vm
from vmferry.model.base import Model
from vmferry.model.facts import HugePages, Link, Pool, SameNetwork, Service
from vmferry.model.findings import Severity
from vmferry.model.host import FleetSnapshot, Machine, PairFacts, Storage
from vmferry.model.migration import DomainChanges, MigrationMode
from vmferry.model.vm import Disk, DomainState, Vm
from vmferry.rules.case import Case, Fleet, Side, apply_changes
from vmferry.rules.policy import Policy
from vmferry.rules.table import RULES

THIRD = "third-example"
M = TypeVar("M", bound=Model)
# Of these a host, or a pair, has one of each name.
_UNIQUE: dict[type[Model], tuple[str, ...]] = {
    HugePages: ("size_kib",),
    Link: ("name",),
    Machine: ("name",),
    Pool: ("name",),
    SameNetwork: ("bridge", "dest_bridge"),
    Service: ("name",),
    Storage: ("path",),
}


@dataclass(frozen=True)
class Voyage:
    """A fleet and the move in it that is asked about."""

    snapshot: FleetSnapshot
    vm: Vm
    arriving: Vm
    mode: MigrationMode
    made_of: str = ""

    def __repr__(self) -> str:  # a failing property prints it: the models themselves fill screens
        return f"<{self.mode} move of {self.made_of}>"

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:  # hypothesis' own way of printing
        printer.text(repr(self))

    def case(self) -> Case:
        return Fleet(self.snapshot).case(self.vm, SOURCE, DEST, self.mode, self.arriving)

    def with_vm(self, vm: Vm) -> Voyage:
        """The same move of another VM: it takes the old one's place on the source."""
        facts = self.snapshot.hosts[0]
        vms = tuple(vm if there == self.vm else there for there in facts.vms)
        hosts = (facts.model_copy(update={"vms": vms}), *self.snapshot.hosts[1:])
        snapshot = self.snapshot.model_copy(update={"hosts": hosts})
        arriving = vm
        if self.arriving is not self.vm:
            arriving = apply_changes(vm, _changes(vm, [(self.vm, self.arriving)]))
            arriving = arriving.model_copy(update={"name": self.arriving.name, "problems": self.arriving.problems})
        return replace(self, snapshot=snapshot, vm=vm, arriving=arriving)


@cache
def known_cases() -> dict[str, Case]:
    """Every case that the rules are tested with, by rule and number."""
    return {
        f"{rule}-{number}": make()
        for rule, (finding, passing) in CASES.items()
        for number, make in enumerate((*finding, *passing))
    }


@cache
def real_vms() -> dict[str, Vm]:
    """Every captured domain, by file name, as if it ran."""
    running = {"state": DomainState.RUNNING, "state_reason": "booted"}
    return {path.stem: parse_vm(path.read_bytes(), **running) for path in FILES}


def blend(models: Sequence[M], chance: random.Random) -> M:
    """Take each field from one of the models; collections from all of them together."""
    fields: dict[str, Any] = {}
    for name in type(models[0]).model_fields:
        values = [getattr(model, name) for model in models]
        if all(isinstance(value, tuple) for value in values) and name != "migration_ports":
            fields[name] = tuple(dict.fromkeys(chain.from_iterable(values))) if _are_plain(values) else _joined(values)
        elif all(isinstance(value, dict) for value in values):
            fields[name] = {key: entry for value in values for key, entry in value.items()}
        elif all(isinstance(value, Model) for value in values):
            fields[name] = blend(values, chance)
        else:
            fields[name] = chance.choice(values)
    return models[0].model_copy(update=fields)


def _are_plain(values: Iterable[tuple[Any, ...]]) -> bool:
    return all(isinstance(entry, str) for value in values for entry in value)


def _joined(values: Iterable[tuple[Any, ...]]) -> tuple[Any, ...]:
    found: dict[Any, Any] = {}
    for entry in chain.from_iterable(values):
        names = _UNIQUE.get(type(entry))
        found.setdefault(tuple(getattr(entry, name) for name in names) if names else repr(entry), entry)
    return tuple(found.values())


def one_of_each(entries: Iterable[M], *names: str) -> tuple[M, ...]:
    """Drop entries that share one of these fields with an earlier one: a host has no two such things."""
    taken: set[tuple[str, Any]] = set()
    kept = []
    for entry in entries:
        keys = {(name, getattr(entry, name)) for name in names}
        if not keys & taken:
            kept.append(entry)
            taken |= keys
    return tuple(kept)


def retargeted(vm: Vm) -> Vm:
    """Give every disk a target of its own, as libvirt does."""
    disks = tuple(disk.model_copy(update={"target": f"vd{number}"}) for number, disk in enumerate(vm.disks))
    return vm.model_copy(update={"disks": disks})


def mix(cases: Sequence[Case], vms: Sequence[Vm], chance: random.Random) -> Voyage:
    """Blend cases, and VMs into the one that moves."""
    first = cases[0]
    name, uuid = first.vm.name, first.vm.uuid
    vm = retargeted(blend([*(case.vm for case in cases), *vms], chance)).model_copy(update={"name": name, "uuid": uuid})
    arriving = apply_changes(vm, _changes(vm, [(case.vm, case.arriving) for case in cases]))
    if any(case.arriving.name != case.vm.name for case in cases):
        arriving = arriving.model_copy(update={"name": f"{name}-other"})
    hosts = [_side([case.source for case in cases], SOURCE, chance), _side([case.dest for case in cases], DEST, chance)]
    others = one_of_each((vm, *(v for v in hosts[0].facts.vms if v not in [c.vm for c in cases])), "name", "uuid")
    hosts[0] = replace(hosts[0], facts=hosts[0].facts.model_copy(update={"vms": others}))
    snapshot = build_snapshot(
        [(side.host, side.facts) for side in (*hosts, _third(cases, vm))],
        pairs=_pairs(cases, chance),
        cordons=[case.cordon for case in cases if case.cordon][:1],
        reserved={DEST: blend([case.reserved for case in cases], chance)},
        open_runs={str(uuid): case.open_run for case in cases if case.open_run},
    )
    return Voyage(snapshot, vm, arriving, chance.choice([case.mode for case in cases]))


def _changes(vm: Vm, moves: Iterable[tuple[Vm, Vm]]) -> DomainChanges:
    """What the moves change from the VM to the arriving one, by what is changed: targets are new in a mixture."""
    disks: dict[str, str] = {}
    nics: dict[str, str] = {}
    for here, there in moves:
        pairs = zip((*here.disks, *here.nics), (*there.disks, *there.nics), strict=False)
        for old, new in pairs:
            if old.source and new.source and old.source != new.source:
                (disks if isinstance(old, Disk) else nics)[old.source] = new.source
    targets = {disk.target: disks[disk.source] for disk in vm.disks if disk.source in disks}
    return DomainChanges(disk_sources=targets, bridges=nics, networks=nics)


def _side(sides: Sequence[Side], name: str, chance: random.Random) -> Side:
    facts = blend([side.facts for side in sides], chance)
    system = facts.system.model_copy(update={"links": _with_own_addresses(facts.system.links)})
    facts = facts.model_copy(update={"name": name, "vms": one_of_each(facts.vms, "name", "uuid"), "system": system})
    return Side(blend([side.host for side in sides], chance), facts)


def _with_own_addresses(links: Iterable[Link]) -> tuple[Link, ...]:
    """An address is on one device."""
    taken: set[str] = set()
    kept = []
    for link in links:
        own = tuple(address for address in link.addresses if address.partition("/")[0] not in taken)
        taken |= {address.partition("/")[0] for address in own}
        kept.append(link.model_copy(update={"addresses": own}))
    return tuple(kept)


def _third(cases: Sequence[Case], vm: Vm) -> Side:
    twins = []
    if any(case.copies for case in cases):
        twins = [vm.model_copy(update={"state": DomainState.RUNNING})]
    elif any(case.defined_on for case in cases):
        twins = [vm.model_copy(update={"state": DomainState.SHUTOFF})]
    return Side(build_host(THIRD), build_facts(THIRD, twins))


def _pairs(cases: Sequence[Case], chance: random.Random) -> list[PairFacts]:
    pairs = [case.pair for case in cases if case.pair is not None]
    return [blend(pairs, chance).model_copy(update={"source": SOURCE, "dest": DEST})] if pairs else []


_STATES = (
    {},
    {"state": DomainState.RUNNING},
    {"state": DomainState.PAUSED, "state_reason": "I/O error"},
    {"state": DomainState.SHUTOFF, "state_reason": "shutdown"},
    {"is_persistent": False, "has_active_job": True},
    {"has_managed_save": True, "snapshots": 2, "checkpoints": 1},
    {"problems": ("no <memory>",), "uuid": build_uuid("another")},
)


def _mutated(vm: Vm, chance: random.Random) -> Vm:
    return vm.model_copy(update=chance.choice(_STATES))


@st.composite
def voyages(draw: st.DrawFn) -> Voyage:
    """Moves made of up to four known cases and up to two real domains."""
    cases = draw(st.lists(st.sampled_from(sorted(known_cases())), min_size=1, max_size=4, unique=True))
    vms = draw(st.lists(st.sampled_from(sorted(real_vms())), max_size=2))
    chance = random.Random(draw(st.integers(0, 1 << 32)))
    made = mix([known_cases()[name] for name in cases], [_mutated(real_vms()[name], chance) for name in vms], chance)
    return replace(made, made_of=", ".join((*cases, *vms)))


def shuffled(voyage: Voyage, chance: random.Random) -> Voyage:
    """The same fleet and VM, everything in another order."""
    snapshot = _in_disorder(voyage.snapshot, chance)
    vm = _in_disorder(voyage.vm, chance)
    arriving = vm if voyage.arriving is voyage.vm else _in_disorder(voyage.arriving, chance)
    return replace(voyage, snapshot=snapshot, vm=vm, arriving=arriving)


# The order means something here: the chain of layers, which mount lies over which, the range of ports.
_ORDERED = {"backing", "mounts", "migration_ports", "targets"}


def _in_disorder(model: M, chance: random.Random) -> M:
    fields: dict[str, Any] = {}
    for name in type(model).model_fields:
        value = getattr(model, name)
        if isinstance(value, tuple) and name not in _ORDERED:
            entries = [_in_disorder(entry, chance) if isinstance(entry, Model) else entry for entry in value]
            chance.shuffle(entries)
            fields[name] = tuple(entries)
        elif isinstance(value, dict):
            fields[name] = dict(sorted(value.items(), key=lambda _: chance.random()))
        elif isinstance(value, Model):
            fields[name] = _in_disorder(value, chance)
    return model.model_copy(update=fields)


rule_ids = st.sampled_from([rule.id for rule in RULES])
severities = st.sampled_from(list(Severity))


@st.composite
def policies(draw: st.DrawFn) -> Policy:
    """Any inventory's `rules` and any lifting, final rules and unknown ones included."""
    names = st.one_of(rule_ids, st.just("no-such-rule"))
    return Policy.of(draw(st.dictionaries(names, severities, max_size=6)), draw(st.lists(names, max_size=6)))
