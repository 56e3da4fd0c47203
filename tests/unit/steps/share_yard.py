"""Three hosts as a share sees them, whose files, mounts, services and VMs really change; and that can fail anywhere."""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any
from uuid import UUID

from tests.unit.planning.shares import ADDRESSES, DEST, FSTAB, REQUEST, SERVER, SOURCE, inventory
from vmferry.adapters.share_journal import SqlShareJournal
from vmferry.errors import CopyFailed, HostUnreachable, PermanentError, VmferryError
from vmferry.model.facts import FileFacts
from vmferry.model.sharing import ShareFacts, SharePlan
from vmferry.model.sighting import Sighting
from vmferry.model.vm import Disk, DiskKind, DomainState, Vm
from vmferry.planning.sharing.lines import own_exports, own_mountd
from vmferry.ports.sharing import Ran
from vmferry.steps import share_use, sharing, unsharing

VM, UUID_ = "web1", UUID(int=1)
IMAGE = f"{REQUEST.mount_at}/{VM}.qcow2"


@dataclass
class Machine:
    """What one host is."""

    name: str
    texts: dict[str, str] = field(default_factory=lambda: {"/etc/fstab": FSTAB})
    packages: set[str] = field(default_factory=set)
    services: set[str] = field(default_factory=lambda: {"ssh"})
    ports: set[str] = field(default_factory=set)
    enabled: bool = False
    active: bool = False
    directories: set[str] = field(default_factory=lambda: {REQUEST.mount_at})
    exported: tuple[str, ...] = ()
    mounted: str = ""  # the source of what is mounted at the mount point
    vms: dict[str, DomainState] = field(default_factory=dict)

    def state(self) -> tuple[Any, ...]:
        """Return all of it, to compare."""
        texts = tuple(sorted(self.texts.items()))
        sets = (self.packages, self.services, self.ports, self.directories)
        return texts, *(tuple(sorted(one)) for one in sets), self.enabled, self.active, self.exported, self.mounted


class Yard:
    """The three hosts, what is in their files, and a world over them; `fail` is asked before every act."""

    def __init__(self) -> None:
        self.machines = {name: Machine(name) for name in (SERVER, SOURCE, DEST)}
        self.files: dict[tuple[str, str], tuple[int, str]] = {(SOURCE, IMAGE): (1, "first")}
        self.machines[SOURCE].vms[VM] = DomainState.SHUTOFF
        self.inventory = inventory()
        self.shares = SqlShareJournal("sqlite://", owner="first")
        self.left: list[str] = []  # what a killed process has left running; each look finds one fewer
        self.clock = SimpleNamespace(now=lambda: datetime.now(UTC), sleep=lambda _seconds: None)
        self.acts: list[tuple[str, str]] = []
        self.fail: Callable[[int, str, str], VmferryError | None] = lambda _number, _host, _act: None
        self.boots = True
        self.missing = ""  # a program that no host has
        self._inodes = 10

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(name)

    def be(self, owner: str, alive: tuple[str, ...]) -> None:
        """Be another process from now on, with the same journal; those in `alive` live too."""
        self.shares._owner, self.shares._is_alive = owner, alive.__contains__

    # the world

    def setup(self, host: str) -> Setup:
        return Setup(self, self.machines[host])

    def tools(self, host: str) -> Tools:
        return Tools(self, self.machines[host])

    def hypervisor(self, host: str) -> Libvirt:
        return Libvirt(self, self.machines[host])

    # what happens

    def act(self, host: str, words: str) -> None:
        """Write an act down, or fail before it."""
        self.acts.append((host, words))
        if (error := self.fail(len(self.acts), host, words)) is not None:
            raise error

    def place(self, host: str, path: str) -> tuple[str, str]:
        """Return where a path of a host really lies: on the server, where that is mounted above it."""
        if self.machines[host].mounted and path.startswith(f"{REQUEST.mount_at}/"):
            return SERVER, posixpath.join(REQUEST.directory, posixpath.relpath(path, REQUEST.mount_at))
        return host, path

    def put(self, host: str, path: str, content: str) -> int:
        """Make a file."""
        self._inodes += 1
        self.files[self.place(host, path)] = (self._inodes, content)
        return self._inodes

    def read(self, host: str, path: str) -> str | None:
        """Return a file's content as the host sees it."""
        found = self.files.get(self.place(host, path))
        return found[1] if found else None

    def snapshot(self) -> tuple[Any, ...]:
        """Return everything, to compare: hosts and files."""
        return tuple(one.state() for one in self.machines.values()), tuple(sorted(self.files.items()))

    # an operator's commands

    def share(self) -> SharePlan:
        """Share the VM's image as the flow does, up to the live move."""
        request = REQUEST.model_copy(update={"vms": (VM,)})
        wanted = sharing.prepare_share(request, self)  # type: ignore[arg-type]
        plan, first = sharing.claim_share(wanted, self)  # type: ignore[arg-type]
        try:
            for index in range(first, len(plan.steps)):
                sharing.do_step(plan.share, index, self)  # type: ignore[arg-type]
            sharing.prove_shared(plan.share, self)  # type: ignore[arg-type]
            for vm in dict.fromkeys(image.vm for image in wanted.images):
                share_use.boot_vm(plan.share, vm, self)  # type: ignore[arg-type]
        except VmferryError:
            share_use.end_boots(plan.share, self)  # type: ignore[arg-type]
            self.problems = unsharing.undo_share(plan.share, self, first)  # type: ignore[arg-type]
            raise
        share_use.mark_used(plan.share, self)  # type: ignore[arg-type]
        return wanted

    def unshare(self) -> tuple[str, ...]:
        """Take it back as the flow does."""
        record = sharing.find_share(f"{SERVER}:{REQUEST.directory}", self)  # type: ignore[arg-type]
        assert record is not None
        share = record.plan.share
        share_use.keep_what_runs(record, self)  # type: ignore[arg-type]
        if share_use.was_used(share, self):  # type: ignore[arg-type]
            images = unsharing.homes(record, self)  # type: ignore[arg-type]
            unsharing.unmount(record, self)  # type: ignore[arg-type]
            unsharing.bring_home(self.shares.find(share), images, self)  # type: ignore[arg-type]
        return unsharing.undo_share(share, self)  # type: ignore[arg-type]


class Setup:
    """The configuration of one host."""

    def __init__(self, yard: Yard, machine: Machine) -> None:
        self.host, self._yard, self._of = machine.name, yard, machine

    def read_sharing(self, directory: str, mount_at: str, server_address: str) -> ShareFacts:
        one, yard = self._of, self._yard

        def text(path: str) -> dict[str, str | None]:
            return {"path": path, "text": one.texts.get(path)}

        def inside(place: str) -> tuple[str, ...]:
            return tuple(
                p.removeprefix(f"{place}/") for h, p in yard.files if h == one.name and p.startswith(f"{place}/")
            )

        mount = {"source": one.mounted, "fstype": "nfs", "options": ("rw", "nolock")} if one.mounted else None
        return ShareFacts.model_validate(
            {
                "host": one.name,
                "packages": "apt",
                "installed": tuple(sorted(one.packages)),
                "firewall": "firewalld" if one.name == SERVER else "none",
                "open_services": tuple(one.services),
                "open_ports": tuple(one.ports),
                "is_server_enabled": one.enabled,
                "is_server_active": one.active,
                "exports": text("/etc/exports"),
                "own_exports": text(own_exports(directory)),
                "has_exports_d": False,
                "mountd": text(own_mountd()),
                "fstab": text("/etc/fstab"),
                "has_directory": directory in one.directories,
                "inside": inside(directory),
                "free_bytes": 2**40,
                "mount": mount,
                "has_mount_point": mount_at in one.directories,
                "hidden": () if mount else inside(mount_at),
                "exported": one.exported,
                "address": ADDRESSES[one.name],
            }
        )

    def run(self, argv: Sequence[str], timeout_s: float) -> Ran:
        words = [word for word in argv if word not in ("--", "-q", "-y", "env", "DEBIAN_FRONTEND=noninteractive")]
        if words[0] == "pgrep":
            return Ran(exit_code=0 if self._yard.left and self._yard.left.pop() else 1)
        if words[0] not in ("findmnt", "test", "dpkg-query", "grep"):
            self._yard.act(self.host, " ".join(words))
        if words[0] == self._yard.missing:
            return Ran(exit_code=127, complaint=f"env: {words[0]}: No such file or directory")
        if words[0] == "timeout":
            words = words[2:]
        return Ran(exit_code=0 if self._run(words) else 1, complaint="it failed")

    def _run(self, words: list[str]) -> bool:  # noqa: C901 - one line per program
        one = self._of
        match words:
            case ["dpkg-query", _, name]:
                return name in one.packages
            case ["findmnt", *_]:
                return bool(one.mounted)
            case ["test", "-d", path] | ["mkdir", "-p", "-m", _, path] if words[0] == "test":
                return path in one.directories
            case ["apt-get", "install", *names]:
                one.packages |= set(names) - {"--no-install-recommends"}
                if "nfs-kernel-server" in names:
                    one.enabled = one.active = True
            case ["apt-get", "purge", *names]:
                one.packages -= set(names)
                if "nfs-kernel-server" in names:
                    one.enabled = one.active = False
            case ["firewall-cmd", "--permanent", *options]:
                for option in options:
                    verb, _, value = option.partition("=")
                    place = one.services if verb.endswith("service") else one.ports
                    (place.add if verb.startswith("--add") else place.discard)(value)
            case ["systemctl", "enable", *_]:
                one.enabled = one.active = True
            case ["systemctl", "disable", *_]:
                one.enabled = False
            case ["systemctl", "stop", *_]:
                one.active = False
            case ["mkdir", *_, path]:
                one.directories.add(path)
            case ["rmdir", *_, path]:
                if not any(h == one.name and p.startswith(f"{path}/") for h, p in self._yard.files):
                    one.directories.discard(path)
            case ["grep", _, text, _]:
                return any(line.startswith(text) for line in one.exported)
            case ["exportfs", "-u", client]:
                address, _, path = client.partition(":")
                one.exported = tuple(e for e in one.exported if not e.startswith(f"{path}\t{address}("))
            case ["exportfs", *_]:
                one.exported = self._exported()
            case ["mount", *_, source, _]:
                if not any(line.split()[0] == REQUEST.directory for line in self._yard.machines[SERVER].exported):
                    return False
                one.mounted = source
            case ["umount", *_]:
                if any(state.is_active for state in one.vms.values()):
                    return False
                one.mounted = ""
            case ["virsh", *_, "start", name]:
                one.vms[name] = DomainState.RUNNING if self._yard.boots else DomainState.SHUTOFF
                if self._yard.boots:
                    host, path = self._yard.place(one.name, IMAGE)
                    inode, content = self._yard.files[host, path]
                    self._yard.files[host, path] = (inode, f"{content}, booted")
        return True

    def _exported(self) -> tuple[str, ...]:
        found = []
        for line in self._of.texts.get("/etc/exports", "").split("\n"):
            if line.strip() and not line.startswith("#"):
                path, *clients = line.split()
                found += [f"{path}\t{client}" for client in clients]
        return tuple(found)

    def read_text(self, path: str) -> str | None:
        return self._of.texts.get(path)

    def swap_text(self, path: str, before: str | None, after: str | None, mode: str) -> bool:
        self._yard.act(self.host, f"edit {path}")
        if self._of.texts.get(path) != before:
            return False
        if after is None:
            self._of.texts.pop(path, None)
        else:
            self._of.texts[path] = after
        return True


class Tools:
    """The files of one host."""

    def __init__(self, yard: Yard, machine: Machine) -> None:
        self.host, self._yard = machine.name, yard

    def stat_files(self, paths: Sequence[str]) -> dict[str, FileFacts]:
        found = {}
        for path in paths:
            if (file := self._yard.files.get(self._yard.place(self.host, path))) is not None:
                found[path] = FileFacts(path=path, size_bytes=len(file[1]), allocated_bytes=512, inode=file[0])
        return found

    def backing_chains(self, images: Sequence[Any]) -> dict[str, tuple[str, ...]]:
        return {}

    def copy_file(self, path: str, dest: Any, staging: str, *_: Any) -> None:
        self._yard.act(self.host, f"copy {path}")
        content = self._yard.read(self.host, path)
        if content is None:
            raise CopyFailed(f"{path} is not there")
        self._yard.put(dest.name, staging, content)

    def publish(self, staging: str, path: str) -> None:
        self._yard.act(self.host, f"publish {path}")
        here, there = self._yard.place(self.host, staging), self._yard.place(self.host, path)
        assert there not in self._yard.files
        self._yard.files[there] = self._yard.files.pop(here)

    def set_aside(self, path: str, aside: str) -> None:
        self._yard.act(self.host, f"rename {path}")
        here, there = self._yard.place(self.host, path), self._yard.place(self.host, aside)
        if here not in self._yard.files and there in self._yard.files:
            return
        if here not in self._yard.files or there in self._yard.files:
            raise PermanentError(f"{path} cannot be renamed")
        self._yard.files[there] = self._yard.files.pop(here)

    def remove_file(self, path: str) -> None:
        self._yard.files.pop(self._yard.place(self.host, path), None)

    def make_markers(self, directories: Sequence[str], name: str) -> tuple[str, ...]:
        self._yard.act(self.host, "mark")
        for directory in directories:
            self._yard.put(self.host, f"{directory}/{name}", "")
        return tuple(directories)

    def remove_markers(self, directories: Sequence[str], name: str) -> None:
        for directory in directories:
            self.remove_file(f"{directory}/{name}")


class Libvirt:
    """The VMs of one host."""

    def __init__(self, yard: Yard, machine: Machine) -> None:
        self._yard, self._of = yard, machine

    def look(self, uuid: UUID) -> Sighting:
        return Sighting(host=self._of.name, state=self._of.vms.get(VM, DomainState.ABSENT))

    def destroy(self, uuid: UUID) -> None:
        if VM in self._of.vms:
            self._of.vms[VM] = DomainState.SHUTOFF

    def read_host(self) -> Any:
        disk = Disk(target="vda", kind=DiskKind.FILE, source=IMAGE, driver="qcow2")
        vms = tuple(
            Vm(name=name, uuid=UUID_, domain_type="kvm", state=state, disks=(disk,))
            for name, state in self._of.vms.items()
        )
        find = {name: vm for vm in vms for name in (vm.name, str(vm.uuid))}
        return SimpleNamespace(name=self._of.name, vms=vms, pools=(), find_vm=find.get)


def lost(host: str) -> HostUnreachable:
    """Return what a host that is down makes of every call."""
    return HostUnreachable(f"host {host}: no answer", host=host)
