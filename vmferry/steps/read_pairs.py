"""Read what sources see of destinations, in one batch: a few commands per host, however many pairs there are."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import TypeVar

from vmferry.errors import NotFound, PermanentError, VmferryError
from vmferry.model.facts import CpuVerdict, FileFacts, PeerReach
from vmferry.model.host import FleetSnapshot, PairFacts
from vmferry.model.vm import Vm
from vmferry.ports import HostTools, World
from vmferry.steps.read_batch import Batch, Heard, Looked
from vmferry.steps.read_questions import End, Questions

logger = logging.getLogger("vmferry.steps")

T = TypeVar("T")

_MARKER = ".vmferry-marker-"
# A destination that opens so many markers one after the other is done by then; nothing holds a marker for longer.
_HOLD_S = 20
# Each host answers up to three questions at a time; threads that wait for hosts cost little.
_MOST_THREADS = 150


def read_pairs(
    world: World,
    snapshot: FleetSnapshot,
    source: str,
    dests: Iterable[str],
    vms: Iterable[Vm],
    arriving: Vm | None = None,
) -> tuple[PairFacts, ...]:
    """Read what `source` sees of each destination, for moves of `vms`; the order of `dests` is kept.

    `arriving` is one of the VMs as the destination shall define it, where that differs. A host that was not read, or
    that is lost meanwhile, makes its pairs unusable and no other. Shared storage is proved, never believed: a marker
    file made on the source must appear on the destination, in every directory that holds images of the VMs and in
    every one that the inventory calls shared. Changes: those files, for the length of one look.
    """
    wanted = {source: tuple(dests)}
    batch = _batch(world, snapshot, wanted, {source: tuple(vms)}, arriving)
    return _pairs(batch, wanted, _read(world, batch))


def read_all_pairs(
    world: World, snapshot: FleetSnapshot, vms: Mapping[str, Sequence[Vm]] | None = None
) -> FleetSnapshot:
    """Return the snapshot with what every host that was read sees of every other, as `read_pairs` does.

    `vms` are those whose moves are to be judged, by host; all of each host unless given.
    """
    names = tuple(facts.name for facts in snapshot.hosts)
    wanted = {source: tuple(name for name in names if name != source) for source in names}
    guests = {facts.name: facts.vms if vms is None else tuple(vms.get(facts.name, ())) for facts in snapshot.hosts}
    batch = _batch(world, snapshot, wanted, guests, None)
    return snapshot.model_copy(update={"pairs": _pairs(batch, wanted, _read(world, batch))})


def _pairs(batch: Batch, wanted: Mapping[str, tuple[str, ...]], heard: Heard) -> tuple[PairFacts, ...]:
    return tuple(batch.pair(source, dest, heard) for source, dests in wanted.items() for dest in dests)


def _batch(
    world: World,
    snapshot: FleetSnapshot,
    wanted: Mapping[str, tuple[str, ...]],
    vms: Mapping[str, tuple[Vm, ...]],
    arriving: Vm | None,
) -> Batch:
    ends = {name: _end(world, snapshot, name) for source, dests in wanted.items() for name in (source, *dests)}
    remapped = {str(arriving.uuid): arriving} if arriving is not None else {}
    sources = {source: end for source in wanted if (end := ends[source]) is not None}
    dests = {source: tuple(end for dest in wanted[source] if (end := ends[dest]) is not None) for source in sources}
    return Batch(
        questions={source: Questions(end, vms.get(source, ()), remapped) for source, end in sources.items()},
        dests={source: there for source, there in dests.items() if there},
        markers={source: f"{_MARKER}{uuid.uuid4().hex}" for source in sources},
        names=world.inventory.names(),
    )


def _end(world: World, snapshot: FleetSnapshot, name: str) -> End | None:
    """Return a host of the inventory with what was read of it; None when it was not read."""
    entry, facts = world.inventory.find(name), snapshot.facts(name)
    if entry is None:
        raise NotFound(f"host {name}: not in the inventory ({', '.join(world.inventory.names())})", host=name)
    return End(entry, facts) if facts is not None else None


def _read(world: World, batch: Batch) -> Heard:
    """Ask all hosts at once: probes and CPUs while markers are made, looked for, and removed whatever happens."""
    heard = Heard()

    def probe(source: str) -> dict[str, PeerReach]:
        return world.tools(source).probe_peers(batch.peers(source))

    def compare(dest: str) -> dict[str, CpuVerdict]:
        return world.hypervisor(dest).compare_cpus(batch.cpus(dest))

    if not batch.hosts:
        return heard
    threads = min(_MOST_THREADS, 3 * len(batch.hosts))
    with ThreadPoolExecutor(max_workers=threads, thread_name_prefix="pairs") as pool:
        probes = {source: pool.submit(probe, source) for source in batch.dests}
        cpus = {dest: pool.submit(compare, dest) for dest in batch.compared()}
        _look_for_markers(world, batch, pool, heard)
        heard.probes = _answers("probe", probes, heard)
        heard.cpus = _answers("cpus", cpus, heard)
    return heard


def _look_for_markers(world: World, batch: Batch, pool: ThreadPoolExecutor, heard: Heard) -> None:
    """Let each source make its markers, then all hosts look for all files in one command each.

    No host looks before every source has made its markers: a network file system may remember that one was missing.
    """
    marked = {source: directories for source in batch.dests if (directories := batch.marked(source))}

    def make(source: str) -> tuple[str, ...]:
        return world.tools(source).make_markers(marked[source], batch.markers[source])

    def look(host: str) -> Looked:
        return _look(world.tools(host), batch.paths(host, heard))

    making = {source: pool.submit(make, source) for source in marked}
    try:
        heard.made = _answers("markers", making, heard)
        looking = {host: pool.submit(look, host) for host in batch.hosts}
        _look_for_locks(world, batch, pool, heard)
        heard.files = _answers("files", looking, heard)
    finally:
        wait(making.values())  # an error of ours may have come in between: none is made after this
        # Where the answer was lost the markers may have been made all the same.
        left = {source: heard.made.get(source, directories) for source, directories in marked.items()}
        list(pool.map(lambda source: _remove(world, source, left[source], batch.markers[source]), left))


def _look_for_locks(world: World, batch: Batch, pool: ThreadPoolExecutor, heard: Heard) -> None:
    """Let each source hold its markers as QEMU holds an image, then let each destination try to open them.

    What is not answered leaves locks unproved, and spoils nothing else. The holders end with their markers.
    """

    def hold(source: str) -> None:
        world.tools(source).hold_image_locks(held[source], batch.markers[source], _HOLD_S)

    def find(host: str) -> frozenset[str]:
        return frozenset(world.tools(host).find_image_locks(wanted[host]))

    held = {source: directories for source in batch.dests if (directories := batch.held(source, heard))}
    wanted = {host: markers for host in batch.hosts if (markers := batch.held_markers(host, heard))}
    _answers("hold locks", {source: pool.submit(hold, source) for source in held}, heard)
    heard.locks = _answers("find locks", {host: pool.submit(find, host) for host in wanted}, heard)


def _answers(question: str, asked: Mapping[str, Future[T]], heard: Heard) -> dict[str, T]:
    """Return the answers by host; a host that does not answer is noted with its reason."""
    answers = {}
    for host, future in asked.items():
        try:
            answers[host] = future.result()
        except VmferryError as error:
            logger.warning("host %s: %s not answered: %s", host, question, error)
            heard.errors[question, host] = str(error)
    return answers


def _look(tools: HostTools, paths: Sequence[str]) -> Looked:
    """Look for files; a path at which the host cannot look (a loop of links, say) spoils no other."""
    found: dict[str, FileFacts] = {}
    unreadable: set[str] = set()
    parts = [list(paths)] if paths else []
    while parts:
        part = parts.pop()
        try:
            found |= tools.stat_files(part)
        except PermanentError as error:
            if len(part) == 1:
                logger.warning("host %s: cannot look at %s: %s", tools.host, part[0], error)
                unreadable.add(part[0])
            else:
                middle = len(part) // 2
                parts += [part[:middle], part[middle:]]
    return Looked(found, frozenset(unreadable))


def _remove(world: World, source: str, directories: Sequence[str], name: str) -> None:
    try:
        if directories:
            world.tools(source).remove_markers(directories, name)
    except VmferryError as error:
        logger.warning("empty marker files %s may be left behind on %s in %s: %s", name, source, directories, error)
