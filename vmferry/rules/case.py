"""What a rule sees: one VM, two hosts and a mode; and the fleet that cases are made from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property, wraps
from ipaddress import ip_address
from typing import Concatenate, ParamSpec, TypeVar, cast
from uuid import UUID

from vmferry.errors import NotFound
from vmferry.model.convergence import PolicyName
from vmferry.model.facts import Link, Mount
from vmferry.model.host import Cordon, FleetSnapshot, Host, HostFacts, PairFacts, Profile, Reservation
from vmferry.model.migration import DomainChanges, MigrationMode
from vmferry.model.vm import Disk, DiskKind, Vm

_NOTHING = Reservation()


@dataclass(frozen=True)
class Side:
    """One end of a move: the inventory's entry, what was read, and indices over it made at first use."""

    host: Host
    facts: HostFacts

    @property
    def name(self) -> str:
        """The inventory's name of the host."""
        return self.host.name

    @cached_property
    def by_name(self) -> Mapping[str, Vm]:
        """The host's domains by name."""
        return {vm.name: vm for vm in self.facts.vms}

    @cached_property
    def by_uuid(self) -> Mapping[UUID, Vm]:
        """The host's domains by UUID."""
        return {vm.uuid: vm for vm in self.facts.vms}

    @cached_property
    def keyed(self) -> tuple[tuple[str, Vm], ...]:
        """(UUID as text, domain) of all domains, sorted by name, then by UUID."""
        return tuple((str(vm.uuid), vm) for vm in sorted(self.facts.vms, key=lambda vm: (vm.name, vm.uuid)))

    @cached_property
    def active_vcpus(self) -> int:
        """vCPUs of the domains that have a QEMU process."""
        return sum(vm.vcpus for vm in self.facts.vms if vm.is_active)

    @cached_property
    def canonical_machines(self) -> Mapping[str, str]:
        """Machine type name → canonical name, aliases included."""
        return {machine.name: machine.canonical for machine in self.facts.machines}

    @cached_property
    def max_vcpus(self) -> Mapping[str, int]:
        """Canonical machine type → the most vCPUs it takes; the least that is said under any of its names."""
        by_limit = sorted(self.facts.machines, key=lambda machine: -machine.max_vcpus)
        return {machine.canonical: machine.max_vcpus for machine in by_limit}

    def place_in_group(self, path: str) -> tuple[str, str] | None:
        """Return (shared group, path inside it); None when the inventory declares nothing for the path."""
        for directory, group in self._storage:
            if path.startswith(directory) and path[len(directory) :][:1] in ("/", ""):
                return None if group is None else (group, path[len(directory) :])
        return None

    @cached_property
    def _storage(self) -> tuple[tuple[str, str | None], ...]:
        """Storage directories without a slash at the end, and their groups; the longest first."""
        by_length = sorted(self.host.storage, key=lambda storage: -len(storage.path))
        return tuple((storage.path.rstrip("/"), storage.shared) for storage in by_length)

    @cached_property
    def file_users(self) -> Mapping[str, tuple[str, ...]]:
        """Path → names of this host's domains that use it as disk, volume, backing file or NVRAM, sorted."""
        users: dict[str, set[str]] = {}
        for vm in self.facts.vms:
            volumes = (path for disk in vm.disks if (path := volume_path(self.facts, disk)))
            for path in (*vm_paths(vm), *volumes):
                users.setdefault(path, set()).add(vm.name)
        return {path: tuple(sorted(names)) for path, names in users.items()}

    @cached_property
    def links(self) -> Mapping[str, Link]:
        """The host's network devices by name; empty where they were not read."""
        return {link.name: link for link in self.facts.system.links}

    @cached_property
    def arrival_link(self) -> Link | None:
        """The device with the migration address; None where that is a name, or not among what was read."""
        address = _canonical(self.host.migration_address)
        has_it = (k for k in self.links.values() if any(a.partition("/")[0] == address for a in k.addresses))
        return next(has_it, None)

    @cached_property
    def carriers(self) -> Mapping[str, Link]:
        """Network device → the one that tells its speed and load: itself, or a bridge's fastest port of hardware.

        A bridge counts only what is for the host itself, while the traffic of its guests fills the port.
        """
        bridges = {link.name for link in self.links.values() if link.kind == "bridge"}
        known = sorted((k for k in self.links.values() if k.speed_mbit_s), key=lambda link: link.speed_mbit_s or 0)
        ports = {k.master: k for k in known if k.master in bridges and k.kind in ("", "bond", "team")}
        return {k.name: k for k in known if k.name not in bridges} | {b: ports[b] for b in bridges if b in ports}

    @cached_property
    def mount_points(self) -> frozenset[str]:
        """Where file systems are mounted; empty where that was not read."""
        return frozenset(mount.path for mount in self.facts.system.mounts)

    def mount_of(self, path: str) -> Mount | None:
        """Return the mount that holds `path`, as SystemFacts.mount_of does, in a step per directory."""
        mounts = self._mounts
        while path not in mounts:
            above = path.rpartition("/")[0]
            if not above:
                return mounts.get("/") if path.startswith("/") else None
            path = above
        return mounts[path]

    @cached_property
    def _mounts(self) -> Mapping[str, Mount]:
        return {mount.path.rstrip("/") or "/": mount for mount in self.facts.system.mounts}

    @cached_property
    def has_nfs(self) -> bool:
        """Whether an NFS file system is mounted."""
        return any(mount.is_nfs for mount in self.facts.system.mounts)

    @cached_property
    def of_pairs(self) -> dict[int, tuple[Side, object]]:
        """What was worked out of this source and a destination, by the id of that one, which is kept alive with it."""
        return {}


def _canonical(address: str) -> str:
    """Return an IP address as the kernel writes it; a name as it is."""
    try:
        return str(ip_address(address))
    except ValueError:
        return address


def vm_paths(vm: Vm) -> tuple[str, ...]:
    """Return every host path of the VM's disks, their backing files and its NVRAM; may repeat."""
    disks = tuple(d.source for d in vm.disks if d.is_local_path and d.source)
    backing = tuple(path for d in vm.disks for path in d.backing if path.startswith("/"))
    return (*disks, *backing, *((vm.nvram,) if vm.nvram else ()))


# Pools whose volumes are files or device nodes below the pool's target (libvirt storage drivers).
_POOLS_WITH_PATHS = ("dir", "fs", "netfs", "logical")


def volume_path(facts: HostFacts, disk: Disk) -> str | None:
    """Return the path that a volume disk has on a host; None for other disks and where the pool has no paths there."""
    if disk.kind is not DiskKind.VOLUME or not disk.pool or not disk.source:
        return None
    pool = next((p for p in facts.pools if p.name == disk.pool and p.is_active), None)
    if pool is None or pool.kind not in _POOLS_WITH_PATHS or not pool.target:
        return None
    return f"{pool.target.rstrip('/')}/{disk.source.removeprefix(disk.pool + '/')}"


P = ParamSpec("P")
T = TypeVar("T")


def once_per_case(function: Callable[Concatenate[Case, P], T]) -> Callable[Concatenate[Case, P], T]:
    """Work out what several rules ask of a case only once; arguments are hashable, results are not changed."""

    @wraps(function)
    def remembered(case: Case, /, *args: P.args, **kwargs: P.kwargs) -> T:
        key = (function, args, tuple(kwargs.items())) if kwargs else (function, args)
        known = case.worked_out
        if key not in known:
            known[key] = function(case, *args, **kwargs)
        return cast(T, known[key])

    return remembered


@dataclass(frozen=True, slots=True)
class Case:
    """One question to the rules: may this VM go from `source` to `dest` in this mode?

    `arriving` is the VM as the destination shall define it (path remaps and the operator's own XML applied).
    `pair` None: reach and files were not read, so what depends on them is judged from the inventory only.
    `copies` are other hosts than the two where a domain with this UUID is active; `defined_on`, where one is shut off.
    """

    vm: Vm
    arriving: Vm
    source: Side
    dest: Side
    mode: MigrationMode
    pair: PairFacts | None
    reserved: Reservation
    cordon: Cordon | None
    open_run: str | None
    copies: tuple[str, ...]
    defined_on: tuple[str, ...] = ()
    policy: PolicyName | None = None  # what was asked for; None: what the inventory says of the source
    # Answers of functions that are `once_per_case`; a case made from this one by `replace` has its own.
    worked_out: dict[tuple[object, ...], object] = field(default_factory=dict, init=False, compare=False, repr=False)

    @property
    def profile(self) -> Profile:
        """The stricter profile of the two hosts."""
        profiles = (self.source.host.profile, self.dest.host.profile)
        return Profile.RHEL8 if Profile.RHEL8 in profiles else Profile.UPSTREAM

    @property
    def convergence(self) -> PolicyName:
        """What may be done to the VM when its move does not converge."""
        return self.policy or self.source.host.convergence

    @property
    def is_offline(self) -> bool:
        """Whether only the definition and files move, no memory."""
        return self.mode is MigrationMode.OFFLINE

    def dest_path(self, disk: Disk) -> str:
        """Return the path of a local disk on the destination; its own if the arriving VM lacks it."""
        if self.arriving is self.vm:
            return disk.source or ""
        there = (arriving.source for arriving in reversed(self.arriving.disks) if arriving.target == disk.target)
        return next(there, None) or disk.source or ""


def apply_changes(vm: Vm, changes: DomainChanges) -> Vm:
    """Return the VM as it is with `changes` applied; the VM itself when nothing changes."""
    if changes.is_empty:
        return vm
    disks = tuple(disk.at(changes.disk_sources.get(disk.target, disk.source)) for disk in vm.disks)
    maps = {"bridge": changes.bridges, "network": changes.networks}
    nics = tuple(n.model_copy(update={"source": maps.get(n.kind, {}).get(n.source or "", n.source)}) for n in vm.nics)
    return vm.model_copy(update={"disks": disks, "nics": nics})


class Fleet:
    """A snapshot with indices, so that a thousand cases cost no thousand searches. Reads only.

    `sides` are the hosts that may be used: in the inventory, read, and not listed as unreachable.
    """

    def __init__(self, snapshot: FleetSnapshot) -> None:
        self.snapshot = snapshot
        lost = {u.host for u in snapshot.unreachable}
        facts = {f.name: f for f in snapshot.hosts if f.name not in lost}
        self.sides = {h.name: Side(h, facts[h.name]) for h in snapshot.inventory.hosts if h.name in facts}
        self._pairs = {(p.source, p.dest): p for p in snapshot.pairs}
        self._cordons = {c.host: c for c in snapshot.cordons}
        self._active_on: dict[UUID, list[str]] = {}
        self._shut_off_on: dict[UUID, list[str]] = {}
        for name, side in self.sides.items():
            for vm in side.facts.vms:
                (self._active_on if vm.is_active else self._shut_off_on).setdefault(vm.uuid, []).append(name)

    def side(self, name: str) -> Side:
        """Return a host that was read; raises NotFound."""
        if name not in self.sides:
            raise NotFound(f"host {name} was not read; see `vmferry hosts`", host=name)
        return self.sides[name]

    def case(
        self,
        vm: Vm,
        source: str,
        dest: str,
        mode: MigrationMode,
        arriving: Vm | None = None,
        policy: PolicyName | None = None,
    ) -> Case:
        """Return the case of one move; `arriving` None means that nothing is changed; raises NotFound."""
        runs, active, shut_off = self.snapshot.open_runs, self._active_on, self._shut_off_on
        return Case(
            vm=vm,
            arriving=arriving or vm,
            source=self.side(source),
            dest=self.side(dest),
            mode=mode,
            pair=self._pairs.get((source, dest)),
            reserved=self.snapshot.reserved.get(dest, _NOTHING),
            cordon=self._cordons.get(dest),
            open_run=runs.get(str(vm.uuid)) if runs else None,
            copies=tuple(name for name in active.get(vm.uuid, ()) if name not in (source, dest)),
            defined_on=tuple(name for name in shut_off.get(vm.uuid, ()) if name not in (source, dest)),
            policy=policy,
        )
