"""Share images over NFS: read → judge → plan → do, each step journaled first; whatever fails is taken back.

Up to the first start of a VM on the shared storage everything can be undone; from there on it is used, and only
`vmferry.steps.unsharing` takes it back, with the images.
"""

from __future__ import annotations

import logging
import posixpath
import uuid
from collections.abc import Iterator

from vmferry.errors import AlreadyMoving, InvalidInput, PermanentError, ProgramMissing
from vmferry.model.facts import ImageFile
from vmferry.model.host import Host, HostFacts
from vmferry.model.sharing import SharedImage, ShareFacts, SharePlan, ShareRecord, ShareRequest, ShareState
from vmferry.model.vm import DomainState, Vm
from vmferry.planning.places import named_paths
from vmferry.planning.sharing.lines import is_exported, mount_source
from vmferry.planning.sharing.problems import has_wanted_locks, request_problems, share_problems
from vmferry.planning.sharing.steps import plan_share
from vmferry.ports.sharing import ShareWorld
from vmferry.steps.share_acts import perform
from vmferry.steps.share_use import begin_more

logger = logging.getLogger("vmferry.steps")

_SPARE_BYTES = 256 * 2**20


def prepare_share(request: ShareRequest, world: ShareWorld) -> SharePlan:
    """Read all hosts and plan; reads only. Raises InvalidInput with every problem at once."""
    _refuse(request_problems(request, world.inventory))
    entries = {name: _entry(name, world) for name in request.hosts}
    facts = read_shares(request, world)
    guests = {name: world.hypervisor(name).read_host() for name in request.clients}
    source = mount_source(request, entries[request.server].migration_address)
    mounted = tuple(h for h in request.clients if (mount := facts[h].mount) is not None and mount.source == source)
    problems = list(_vm_problems(request, guests, mounted))
    share = uuid.uuid4().hex[:12]
    images: tuple[SharedImage, ...] = ()
    if not problems:
        images = tuple(_images(share, request, guests, facts, world))
        problems += _image_problems(request, guests, images, facts, world)
    problems += share_problems(request, entries, facts, images)
    _refuse(problems)
    return plan_share(share, request, entries, facts, images)


def _refuse(problems: Iterator[str] | list[str]) -> None:
    if found := tuple(problems):
        raise InvalidInput("storage is not shared, nothing was touched: " + "; ".join(found), problems=found)


def _entry(name: str, world: ShareWorld) -> Host:
    entry = world.inventory.find(name)
    assert entry is not None, name
    return entry


def read_shares(request: ShareRequest, world: ShareWorld) -> dict[str, ShareFacts]:
    """Read the part of every host, all at once."""
    server = _entry(request.server, world).migration_address
    return {name: world.setup(name).read_sharing(request.directory, request.mount_at, server) for name in request.hosts}


def _vm_problems(request: ShareRequest, guests: dict[str, HostFacts], mounted: tuple[str, ...]) -> Iterator[str]:
    """Yield what keeps the images from being copied at rest; VMs of hosts that have the share mounted use it."""
    for name in request.vms:
        if any(host in mounted and guests[host].find_vm(name) for host in request.clients):
            continue  # it uses the share already
        vm = guests[request.source].find_vm(name)
        if vm is None:
            yield f"vm {name}: not on {request.source}; `virsh list --all` there shows its VMs"
            continue
        if vm.state is not DomainState.SHUTOFF:
            yield (
                f"vm {name}: is {vm.state} on {request.source}; its image is copied at rest: "
                f"`virsh shutdown {name}` first"
            )
        if vm.has_managed_save:
            yield (
                f"vm {name}: a managed save image waits for it; start it and shut it down, or discard that: "
                f"`virsh managedsave-remove {name}`"
            )
        if vm.snapshots:
            yield f"vm {name}: has {vm.snapshots} snapshots; delete them first (`virsh snapshot-list {name}`)"
        if guests[request.dest].find_vm(str(vm.uuid)) or guests[request.dest].find_vm(vm.name):
            yield f"vm {name}: is defined on {request.dest} too; undefine it where it is not used"
    for host, facts in guests.items():
        for vm in facts.vms if host not in mounted else ():
            if vm.state.is_active and any(_is_below(path, request.mount_at) for path in named_paths(vm, facts)):
                yield f"host {host}: vm {vm.name} runs from {request.mount_at}; shut it down, or move it away first"


def _images(
    share: str,
    request: ShareRequest,
    guests: dict[str, HostFacts],
    facts: dict[str, ShareFacts],
    world: ShareWorld,
) -> Iterator[SharedImage]:
    """Yield the images of the VMs that lie in the mount point and are not on the share yet, each once."""
    if facts[request.source].mount is not None:
        return
    seen: set[str] = set()
    for name in request.vms:
        vm = guests[request.source].find_vm(name)
        assert vm is not None, name
        for path in _paths(vm, guests[request.source], world):
            if path in seen or not _is_below(path, request.mount_at):
                continue
            seen.add(path)
            inner = posixpath.relpath(path, request.mount_at)
            yield SharedImage(
                vm=vm.name,
                uuid=vm.uuid,
                host=request.source,
                path=path,
                shared_path=posixpath.join(request.directory, inner),
                aside=f"{path}.vmferry-shared-{share}",
            )


def _paths(vm: Vm, facts: HostFacts, world: ShareWorld) -> Iterator[str]:
    """Yield the VM's writable disks and all that they build on."""
    disks = [disk for disk in vm.disks if disk.is_local_path and disk.device in ("disk", "lun") and disk.source]
    asked = [ImageFile(path=str(disk.source), format=disk.driver or "raw") for disk in disks]
    chains = world.tools(facts.name).backing_chains(asked) if asked else {}
    for image in asked:
        yield image.path
        yield from chains.get(image.path, ())


def _image_problems(
    request: ShareRequest,
    guests: dict[str, HostFacts],
    images: tuple[SharedImage, ...],
    facts: dict[str, ShareFacts],
    world: ShareWorld,
) -> Iterator[str]:
    for name in request.vms:
        vm = guests[request.source].find_vm(name)
        for path in () if vm is None else _paths(vm, guests[request.source], world):
            if not _is_below(path, request.mount_at):
                yield (
                    f"vm {name}: {path} lies outside of {request.mount_at} and would stay local: the VM could not move "
                    "live; move the image there, or share another directory"
                )
    if not images:
        return
    sizes = world.tools(request.source).stat_files([image.path for image in images])
    for image in images:
        if image.path not in sizes:
            yield f"vm {image.vm}: {image.path} does not exist on {image.host}"
    need, free = sum(one.size_bytes for one in sizes.values()) + _SPARE_BYTES, facts[request.server].free_bytes
    if need > free:
        yield (
            f"host {request.server}: {free // 2**20} MiB are free for {request.directory}, the images need up to "
            f"{need // 2**20} MiB; free room, or choose another --directory"
        )


def _is_below(path: str, directory: str) -> bool:
    return path.startswith(f"{directory.rstrip('/')}/")


def find_share(key: str, world: ShareWorld) -> ShareRecord | None:
    """Return the share of this directory that is not undone."""
    return next((record for record in world.shares.shares() if record.plan.key == key), None)


def claim_share(plan: SharePlan, world: ShareWorld) -> tuple[SharePlan, int]:
    """Open the share in the journal, or add to the one that is there; return the plan and its first new step.

    Raises InvalidInput when the directory is shared with other hosts, AlreadyMoving when somebody is at work on it.
    """
    record = find_share(plan.key, world)
    if record is None:
        world.shares.open_share(plan)
        return plan, 0
    there, wanted = record.plan.request, plan.request
    if (set(there.clients), there.mount_at) != (set(wanted.clients), wanted.mount_at):
        raise InvalidInput(
            f"{plan.key} is shared with {there.source} and {there.dest} at {there.mount_at} already; "
            f"`vmferry unshare {plan.key}` first, or choose another --directory"
        )
    if not world.shares.take_over(record.plan.share):
        raise AlreadyMoving(f"{plan.key}: {record.owner} is at work on it; wait for its end", host=wanted.server)
    first = len(record.plan.steps)
    more = {"steps": (*record.plan.steps, *plan.steps), "images": (*record.plan.images, *plan.images)}
    merged = record.plan.model_copy(update={**more, "notes": plan.notes})
    if plan.steps:
        begin_more(merged.share, first, world)
        world.shares.extend(merged.share, merged)
        world.shares.turn(merged.share, ShareState.OPEN)
    return merged, first


def do_step(share: str, index: int, world: ShareWorld) -> None:
    """Do one step; may be repeated. The journal knows of it before the world is touched.

    A step whose first program is not on the host has touched nothing, and its undo would want the same program.
    """
    record = world.shares.find(share)
    plan, step = record.plan, record.plan.steps[index]
    logger.info("share %s: %s on %s: %s", share, step.kind, step.host, step.why)
    world.shares.begin(share, index)
    for number, act in enumerate(step.do):
        try:
            perform(act, step, plan, index, world)
        except ProgramMissing:
            if number == 0 and index not in record.begun:
                world.shares.undone(share, index)
            raise


def prove_shared(share: str, world: ShareWorld) -> None:
    """Prove on all hosts that the storage is one: exports, mounts without NFS locks, a file seen by all.

    Raises PermanentError with everything that is wrong. Changes: a marker file, for the length of one look.
    """
    plan = world.shares.find(share).plan
    request, facts = plan.request, read_shares(plan.request, world)
    problems = []
    if not is_exported(request, plan.addresses, facts[request.server]):
        problems.append(f"host {request.server}: `exportfs -s` does not show {request.directory} for both hosts")
    for host in request.clients:
        mount = facts[host].mount
        if mount is None or mount.source != mount_source(request, plan.server_address):
            problems.append(f"host {host}: {request.mount_at} is not mounted from {request.server}")
        elif not has_wanted_locks(request, mount):
            problems.append(f"host {host}: {request.mount_at} is mounted with NFS locks: {','.join(mount.options)}")
    problems += [] if problems else _marker_problems(plan, world)
    if problems:
        raise PermanentError(f"share {share}: not proved: {'; '.join(problems)}", host=request.server)


def _marker_problems(plan: SharePlan, world: ShareWorld) -> Iterator[str]:
    """A file that one host makes as root must be seen by all, and belong to root: no_root_squash works."""
    request = plan.request
    places = {request.server: request.directory, **dict.fromkeys(request.clients, request.mount_at)}
    for maker in request.clients:
        # A name of its own each: an NFS client remembers for a minute that a name was not there, or was removed.
        tools, name = world.tools(maker), f".vmferry-marker-{uuid.uuid4().hex}"
        if not tools.make_markers([request.mount_at], name):
            yield f"host {maker}: root may not write in {request.mount_at}"
            continue
        try:
            for host, directory in places.items():
                path = f"{directory}/{name}"
                if host != maker and path not in world.tools(host).stat_files([path]):
                    yield f"host {host}: a file that {maker} made is not in {directory}"
        finally:
            tools.remove_markers([request.mount_at], name)
