"""Copy the disk of a VM that is off from host to host: vmferry beside scp, rsync, qemu-img, and the limit of ssh.

The image is a qcow2 as virt-install makes them: its metadata preallocated, 4 GiB long, sparse, with 1 GiB of data. The
limits are those of link and cipher: as many bytes of zeros, through as many connections, by ssh with its fastest cipher
and by TLS, read from and written to nothing. vmferry goes by TLS, and once more as if the port were closed. Every copy
is compared with its original afterwards; vmferry's seconds include its own proof. All of it over a gigabit link, where
the wire is the limit, and over the lab's own, whose limit is this machine's processors.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

from rich.table import Table

from infra.lab.lab import Lab, take_down
from infra.lab.proc import run as run_here
from infra.lab.spec import HostSpec, LabSpec
from infra.lab.storage import IMAGES
from tests.bench.figures import Spread
from tests.bench.lab_room import SOURCE, lab_name
from tests.bench.registry import Options, Result, benchmark
from tests.bench.tls_zeros import send_zeros
from vmferry.adapters.ssh_program import SSH_OPTIONS
from vmferry.adapters.world import open_world
from vmferry.inventory import load_inventory
from vmferry.settings import Settings

DEST = "kvm2"
SIZE_MIB, DATA_MIB, RUN_MIB = 4096, 1024, 16
# What links let through, MiB/s: a gigabit; None, whatever two network namespaces can do.
LINKS = {"1 Gbit/s": 1e9 / 8 / 2**20, "not capped": None}
IMAGE = f"{IMAGES}/bench.qcow2"
STAGING = f"{IMAGES}/.vmferry-bench/bench.qcow2"
TIMEOUT_S = 600.0
# vmferry and the limit take seconds and are compared closely: more rounds, where the others, which take long, get one.
CLOSE_ROUNDS = 5
CLOSE_WAYS = 4
_TOOLS = {"python3", "ssh", "sshd", "sshd-session", "scp", "sftp-server", "rsync", "qemu-img", "qemu-nbd", "tar"}
_ZEROS = """size=$1 streams=$2 dest=$3; shift 3
for n in $(seq "$streams"); do
  head -c $(( size / streams )) /dev/zero | ssh "$@" "$dest" 'cat >/dev/null' &
done
wait"""
# QEMU's own ssh driver is a package that few hosts have: NBD through a tunnel is what is left, and the faster one.
_CONVERT = """set -eu
socket=/run/vmferry-bench.sock
ssh "$3" rm -f "$socket"; rm -f "$socket"
ssh -L "$socket:$socket" "$3" "qemu-img create -q -f qcow2 $2 $4 && exec qemu-nbd -f qcow2 -k $socket $2" &
until ssh "$3" test -S "$socket"; do sleep 0.1; done
qemu-img convert -n -f qcow2 -O raw "$1" "nbd+unix:///?socket=$socket"
wait"""


@dataclass
class Way:
    """One way to copy, and what its rounds took."""

    title: str
    run: Callable[[], None]
    rounds: int = 1
    is_image: bool = True  # leaves a file that equals the original, or (False) an image with equal content
    seconds: list[float] = field(default_factory=list)
    cpu_s: list[float] = field(default_factory=list)
    memory_mib: list[float] = field(default_factory=list)
    disk_mib: float = 0.0


@benchmark(
    "copying", "a 4 GiB sparse qcow2 with 1 GiB of data: vmferry, scp, rsync -S, qemu-img, limits of ssh and TLS"
)
def run(options: Options, room: Path) -> Result:
    """Run all ways in turn, round by round, on one lab whose links are not capped."""
    measured = [_measured(title, mib_s, options, room) for title, mib_s in LINKS.items()]
    results = [_result(*one) for one in measured]
    return Result(
        tables=tuple(table for result in results for table in result.tables),
        notes=(
            *(note for result in results for note in result.notes),
            "CPU seconds: all that the machine did meanwhile, watching included; the limit has no proof and no disk",
            "memory: the sum of the greatest resident sizes of all processes of the copy on both hosts",
        ),
        data={title: result.data for title, result in zip(LINKS, results, strict=True)},
        problems=tuple(problem for result in results for problem in result.problems),
    )


def _measured(
    title: str, mib_s: float | None, options: Options, room: Path
) -> tuple[str, list[Way], list[str], int, list[int]]:
    """Run all ways over one kind of link: its title, the ways, what is wrong, the image's bytes, streams per run."""
    options.say(f"link {title}")
    hosts = tuple(HostSpec(name=name, link_mib_s=mib_s) for name in (SOURCE, DEST))
    streams: list[int] = []
    try:
        lab = Lab.up(LabSpec(name=lab_name(), hosts=hosts))
        _make_image(lab)
        allocated = lab.hosts[SOURCE].outer_path(IMAGE).stat().st_blocks * 512
        ways = _ways(lab, room, allocated, streams)
        for way in ways[:CLOSE_WAYS]:
            way.rounds = max(CLOSE_ROUNDS, options.rounds)
        problems: list[str] = []
        for number in range(1, ways[0].rounds + 1):
            for way in (way for way in ways if number <= way.rounds):
                problems += _measure(lab, way, number, options.say)
    finally:
        take_down(lab_name())
    return title, ways, problems, allocated, streams


def _ways(lab: Lab, room: Path, allocated: int, streams: list[int]) -> list[Way]:
    """Return vmferry first: it tells how many streams the limit is to be measured with."""
    host = lab.hosts[SOURCE]
    inventory = load_inventory(lab.inventory_path)
    entry = inventory.find(DEST)
    assert entry is not None
    dest = f"{entry.ssh.user}@{entry.ssh.address}"

    def vmferry(way: Literal["auto", "never"]) -> Callable[[], None]:
        def copy() -> None:
            world = open_world(inventory, Settings(state_dir=room / "copying", copy_tls=way))
            try:
                done = world.tools(SOURCE).copy_file(IMAGE, entry, STAGING)
            finally:
                world.close()
            streams.append(done.streams)
            assert ("through TLS" in done.reason) == (way == "auto"), done.reason

        return copy

    def command(*argv: str) -> Callable[[], None]:
        return lambda: void(host.run(argv, timeout=TIMEOUT_S))

    def limit() -> None:
        host.run(
            ["bash", "-c", _ZEROS, "zeros", str(allocated), str(streams[-1]), dest, *SSH_OPTIONS], timeout=TIMEOUT_S
        )

    def tls_limit() -> None:
        send_zeros(host, lab.hosts[DEST], entry.migration_address, allocated, streams[-1], TIMEOUT_S)

    convert = ("bash", "-c", _CONVERT, "convert", IMAGE, STAGING, dest, f"{SIZE_MIB}M")
    return [
        Way("vmferry", vmferry("auto")),
        Way("vmferry, by ssh", vmferry("never")),
        Way("limit: zeros through ssh", limit),
        Way("limit: zeros through TLS", tls_limit),
        Way("scp", command("scp", "-q", IMAGE, f"{dest}:{STAGING}")),
        Way("rsync -S", command("rsync", "-S", "-e", "ssh", IMAGE, f"{dest}:{STAGING}")),
        Way("qemu-img convert", command(*convert), is_image=False),
    ]


def void(_done: object) -> None:
    """Forget what a command returned."""


def _make_image(lab: Lab) -> None:
    host = lab.hosts[SOURCE]
    more = ["-o", "preallocation=metadata"]
    host.run(["qemu-img", "create", "-q", "-f", "qcow2", *more, IMAGE, f"{SIZE_MIB}M"])
    pattern = host.outer_path(f"{IMAGES}/pattern")
    runs = DATA_MIB // RUN_MIB
    try:
        for number in range(runs):
            pattern.write_bytes(os.urandom(RUN_MIB * 2**20))
            at = number * (SIZE_MIB // runs)
            host.run(["qemu-io", "-f", "qcow2", "-c", f"write -s {IMAGES}/pattern {at}M {RUN_MIB}M", IMAGE])
    finally:
        pattern.unlink(missing_ok=True)


def _measure(lab: Lab, way: Way, number: int, say: Callable[[str], None]) -> list[str]:
    """Run a way into an empty directory; return what is wrong with its copy."""
    dest = lab.hosts[DEST]
    dest.run(
        ["sh", "-c", f"rm -rf {IMAGES}/.vmferry-bench; mkdir -m 700 {IMAGES}/.vmferry-bench; sync"], timeout=TIMEOUT_S
    )
    with _memory(lab) as peaks:
        begun, busy_s = time.monotonic(), _busy_s()
        way.run()
        way.seconds.append(time.monotonic() - begun)
        way.cpu_s.append(_busy_s() - busy_s)
    way.memory_mib.append(sum(peaks.values()) / 1024)
    say(
        f"round {number}: {way.title}: {way.seconds[-1]:.1f} s, {way.cpu_s[-1]:.1f} CPU s, "
        f"load {os.getloadavg()[0]:.1f}"
    )
    copy, image = dest.outer_path(STAGING), lab.hosts[SOURCE].outer_path(IMAGE)
    if not copy.exists():
        return [] if way.title.startswith("limit") else [f"{way.title}: no copy"]
    way.disk_mib = copy.stat().st_blocks * 512 / 2**20
    compare = ["cmp", str(image), str(copy)] if way.is_image else ["qemu-img", "compare", str(image), str(copy)]

    return (
        [] if run_here(compare, check=False, timeout=TIMEOUT_S).returncode == 0 else [f"{way.title}: the copy differs"]
    )


def _busy_s() -> float:
    """Return the seconds for which all processors together have worked; the kernel's own work for the disk included."""
    user, nice, system, _, _, irq, softirq = map(int, Path("/proc/stat").read_text().splitlines()[0].split()[1:8])
    return (user + nice + system + irq + softirq) / os.sysconf("SC_CLK_TCK")


@contextmanager
def _memory(lab: Lab) -> Iterator[dict[int, int]]:
    """Watch the greatest resident size (VmHWM, KiB) of each process of the tools on both hosts, by pid."""
    peaks: dict[int, int] = {}
    spaces = {os.stat(f"/proc/{lab.hosts[name].pid1}/ns/net").st_ino for name in (SOURCE, DEST)}  # noqa: PTH116
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(0.2):
            for entry in Path("/proc").iterdir():
                if entry.name.isdigit() and int(entry.name) > 1:
                    _look(entry, spaces, peaks)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield peaks
    finally:
        ended.set()
        thread.join()


def _look(entry: Path, spaces: set[int], peaks: dict[int, int]) -> None:
    try:
        if (entry / "comm").read_text().strip() not in _TOOLS:
            return
        if (entry / "ns/net").stat().st_ino not in spaces:
            return
        lines = (entry / "status").read_text().splitlines()
        peak = next((int(line.split()[1]) for line in lines if line.startswith("VmHWM")), 0)
        peaks[int(entry.name)] = max(peak, peaks.get(int(entry.name), 0))
    except OSError:
        return


def _share(limit: Way, way: Way) -> Spread:
    """Return which share of the limit's speed a way reached, round by round."""
    return Spread.of(a / b for a, b in zip(limit.seconds, way.seconds, strict=True))


def _broken(ways: list[Way], to_scp: Spread, to_limits: list[Spread]) -> Iterator[str]:
    """Yield what was asked for and not reached."""
    for way in ways[CLOSE_WAYS:]:
        if Spread.of(way.seconds).median < Spread.of(ways[0].seconds).median:
            yield f"{way.title} is faster than vmferry"
    if to_scp.median < 3:
        yield f"vmferry is {to_scp.median:.1f} times as fast as scp, not 3 times"
    for name, share in zip(("ssh's limit", "the limit of TLS"), to_limits, strict=False):
        if share.median < 0.8:
            yield f"vmferry reaches {share.median:.2f} of {name}, not 0.8"


def _result(link: str, ways: list[Way], problems: list[str], allocated: int, streams: list[int]) -> Result:
    mine, by_ssh, ssh, tls, scp = ways[:5]
    mib = allocated / 2**20
    table = Table(
        "way",
        "seconds",
        "CPU seconds",
        "MiB/s of data",
        "peak memory, MiB",
        "on disk, MiB",
        title=f"link {link}: median (least–greatest)",
    )
    for way in ways:
        speed = Spread.of(mib / seconds for seconds in way.seconds)
        disk = f"{way.disk_mib:.0f}" if way.disk_mib else "-"
        memory = Spread.of(way.memory_mib).show(digits=0)
        cpu = Spread.of(way.cpu_s).show(digits=1)
        table.add_row(way.title, Spread.of(way.seconds).show(digits=2), cpu, speed.show(digits=0), memory, disk)
    to_limits = [_share(ssh, mine), _share(tls, mine), _share(ssh, by_ssh)]
    to_scp = Spread.of(a / b for a, b in zip(scp.seconds, mine.seconds, strict=False))
    problems += _broken(ways, to_scp, to_limits)
    return Result(
        tables=(table,),
        notes=(
            f"link {link}: vmferry, its proof included, against {streams[-1]} streams of ssh: "
            f"{to_limits[0].show(digits=2)}, of TLS: {to_limits[1].show(digits=2)}; "
            f"vmferry by ssh against ssh: {to_limits[2].show(digits=2)}",
            f"link {link}: vmferry against scp: {to_scp.show(digits=1)} times as fast",
        ),
        data={
            "allocated_mib": mib,
            "streams": streams[-1],
            "to_limits": [asdict(one) for one in to_limits],
            "to_scp": asdict(to_scp),
            "ways": {
                w.title: {"s": w.seconds, "cpu_s": w.cpu_s, "memory_mib": w.memory_mib, "disk_mib": w.disk_mib}
                for w in ways
            },
        },
        problems=tuple(f"link {link}: {problem}" for problem in dict.fromkeys(problems)),
    )
