"""What is asked of a host over ssh: `vmferry.ports.HostTools` with the tools every KVM host has."""

from __future__ import annotations

import math
from collections.abc import Sequence
from uuid import UUID

from vmferry.adapters.ssh_boot import SshBoot
from vmferry.adapters.ssh_copy import Copier
from vmferry.adapters.ssh_files import (
    BACKING,
    LIST,
    MAKE_MARKERS,
    REMOVE_MARKERS,
    STAT,
    batches,
    fits,
    parse_backing,
    parse_list,
    parse_stat,
    stat_trouble,
)
from vmferry.adapters.ssh_images import (
    CHAINS,
    IMAGES,
    MAKE_IMAGE,
    chain_arguments,
    image_arguments,
    made_image,
    parse_chains,
    parse_images,
)
from vmferry.adapters.ssh_locks import FIND_LOCKS, HOLD_LOCKS
from vmferry.adapters.ssh_marks import PLACE, READ_MARKS, SWAP_MARK, parse_marks
from vmferry.adapters.ssh_peers import LANES, PROBE, parse_probe, probe_arguments
from vmferry.adapters.ssh_probe import measure_link
from vmferry.adapters.ssh_process import AWAIT_END, FIND_QEMU
from vmferry.adapters.ssh_shell import Completed, Script, SshShell
from vmferry.adapters.ssh_system import SYSTEM, parse_system
from vmferry.adapters.virsh import parse_virsh_list
from vmferry.errors import CopyFailed, HostUnreachable, PermanentError
from vmferry.model.disks import CopyDone, CopyOptions, LiveDisk
from vmferry.model.facts import FileFacts, ImageFacts, ImageFile, Peer, PeerReach, StoredFile, SystemFacts
from vmferry.model.host import Host
from vmferry.model.mark import HostMarks, MarkKind
from vmferry.model.sighting import ListedDomain
from vmferry.ports import PLAIN_COPY, OnCopy
from vmferry.settings import Settings

# qemu-img takes some 15 ms per image.
_IMAGES_PER_COMMAND = 200
_PUBLISH = """set -eu
sync -- "$1"
ln -T -- "$1" "$2"
rm -f -- "$1"
rmdir --ignore-fail-on-non-empty -- "$(dirname -- "$1")"
"""
_SET_ASIDE = """set -eu
if [ ! -e "$1" ] && [ -e "$2" ]; then exit 0; fi
if [ "$1" -ef "$2" ]; then rm -f -- "$1"; exit 0; fi
ln -T -- "$1" "$2"
rm -f -- "$1"
"""
_REMOVE = """set -eu
rm -f -- "$1"
case "$(basename -- "$(dirname -- "$1")")" in
  .vmferry-*) [ ! -d "$(dirname -- "$1")" ] || rmdir --ignore-fail-on-non-empty -- "$(dirname -- "$1")" ;;
esac
"""


class SshTools(SshBoot):
    """Runs bash, coreutils, findutils, tar and virsh on one host, and what else a host has to show its system."""

    def __init__(self, host: Host, settings: Settings, *, ssh_config: str | None) -> None:
        self.host = host.name
        self._settings = settings
        self._shell = SshShell(host, ssh_config=ssh_config, connect_timeout_s=settings.connect_timeout_s)
        self._copier = Copier(host, settings, ssh_config)

    def close(self) -> None:
        """Close the connection."""
        self._shell.close()

    def read_system(self) -> SystemFacts:
        """Read what the host's own system says: one command, about 0.4 s, most of it counting traffic."""
        return parse_system(self._run(SYSTEM))

    def probe_peers(self, peers: Sequence[Peer]) -> dict[str, PeerReach]:
        """Try the peers from this host, eight at a time; libvirt as the host's own libvirtd will, as the ssh user.

        A TCP port that refuses is open to us: nothing listens there before a migration.
        """
        if not peers:
            return {}
        limit_s = max(1, round(self._settings.connect_timeout_s))
        argv = [str(limit_s), str(LANES), *probe_arguments(peers)]
        if not fits(argv) and len(peers) > 1:
            half = len(peers) // 2
            return self.probe_peers(peers[:half]) | self.probe_peers(peers[half:])
        rounds = math.ceil(len(peers) / LANES)
        done = self._run(PROBE, argv, timeout_s=self._settings.call_timeout_s + rounds * 2 * limit_s)
        return parse_probe(done.stdout, peers, limit_s)

    def virsh_list(self) -> tuple[ListedDomain, ...]:
        """Return `virsh list --all` of this host's system session."""
        return parse_virsh_list(self._must(["virsh", "--connect", "qemu:///system", "list", "--all"]))

    def swap_mark(self, expected: str, wanted: str, kind: MarkKind = MarkKind.HOST) -> str:
        """Put a mark on this host where `expected` stands; return what stands there afterwards."""
        done = self._run(SWAP_MARK, [expected, wanted, kind])
        if not done.is_ok:
            raise PermanentError(f"host {self.host}: {PLACE}: not marked: {done.complaint}", host=self.host)
        return done.stdout

    def read_marks(self) -> HostMarks:
        """Return the marks that stand on this host."""
        done = self._run(READ_MARKS, [])
        if not done.is_ok:
            raise PermanentError(f"host {self.host}: {PLACE}: not read: {done.complaint}", host=self.host)
        return parse_marks(done.stdout)

    def free_bytes(self, paths: Sequence[str]) -> dict[str, int]:
        """Return the free bytes under each directory that exists."""
        free = {}
        for part in batches(paths):
            done = self._read(["stat", "--file-system", "--printf", r"%S %a %n\0", "--", *part])
            for record in filter(None, self._found(done).split("\0")):
                size, blocks, path = record.split(" ", 2)
                free[path] = int(size) * int(blocks)
        return free

    def stat_files(self, paths: Sequence[str]) -> dict[str, FileFacts]:
        """Return the facts of those paths that exist, symbolic links followed."""
        found: dict[str, FileFacts] = {}
        for part in batches(paths):
            found |= parse_stat(self._found(self._run(STAT, part)))
        return found

    def make_markers(self, directories: Sequence[str], name: str) -> tuple[str, ...]:
        """Make an empty file in each directory that exists and can be written. May be repeated."""
        made: list[str] = []
        for part in batches(directories):
            done = self._run(MAKE_MARKERS, [name, *part])
            made += filter(None, done.stdout.split("\0"))
        return tuple(made)

    def remove_markers(self, directories: Sequence[str], name: str) -> None:
        """Remove the file of that name from each directory; one that cannot be removed hinders no other."""
        ended = [self._run(REMOVE_MARKERS, [name, *part]) for part in batches(directories)]
        wrong = "; ".join(done.complaint for done in ended if not done.is_ok)
        if wrong:
            raise PermanentError(f"host {self.host}: {name} was not removed: {wrong}", host=self.host)

    def backing_chains(self, images: Sequence[ImageFile]) -> dict[str, tuple[str, ...]]:
        """Return what the images build on, as `qemu-img info` reads it; those that it cannot read are left out."""
        found: dict[str, tuple[str, ...]] = {}
        for start in range(0, len(images), _IMAGES_PER_COMMAND):
            part = images[start : start + _IMAGES_PER_COMMAND]
            found |= parse_chains(self._run(CHAINS, chain_arguments(part)).stdout)
        return found

    def read_images(self, images: Sequence[ImageFile]) -> dict[str, ImageFacts]:
        """Return what `qemu-img info` says of images; those that it cannot read are left out."""
        found: dict[str, ImageFacts] = {}
        for start in range(0, len(images), _IMAGES_PER_COMMAND):
            part = images[start : start + _IMAGES_PER_COMMAND]
            found |= parse_images(self._run(IMAGES, chain_arguments(part)).stdout, part)
        return found

    def list_files(self, directories: Sequence[str]) -> tuple[StoredFile, ...]:
        """Return the regular files below each directory that exists, sorted by path, our own markers left out."""
        return parse_list("".join(self._run(LIST, part).stdout for part in batches(directories)))

    def backing_files(self, paths: Sequence[str]) -> dict[str, str]:
        """Return what images name as their backing file, from their headers; a missing path is no trouble."""
        found: dict[str, str] = {}
        for part in batches(paths):
            done = self._run(BACKING, part)
            if not done.is_ok:
                raise PermanentError(f"host {self.host}: images: {done.complaint}", host=self.host)
            found |= parse_backing(done.stdout)
        return found

    def checksum(self, path: str) -> str:
        """Return the BLAKE2b digest of a file's content (b2sum: 1.6 times as fast as SHA-256 here)."""
        return self._must(["b2sum", "--", path], timeout_s=self._copy_timeout_s()).split()[0].lstrip("\\")

    def copy_file(
        self, path: str, dest: Host, staging: str, options: CopyOptions = PLAIN_COPY, on_copy: OnCopy | None = None
    ) -> CopyDone:
        """Copy a file to `dest`, verified, by the fastest way that both hosts can do."""
        return self._copier.copy(path, dest, staging, options, on_copy)

    def make_image(self, disk: LiveDisk) -> int:
        """Make an empty image; return its inode."""
        return made_image(self._run(MAKE_IMAGE, image_arguments(disk)), disk, self.host)

    def rebase(self, path: str, backing: str, format: str) -> None:
        """Change what a qcow2 image says it builds on; nothing of its content is read (-u)."""
        argv = ["qemu-img", "rebase", "-q", "-u", "-f", "qcow2", "-F", format, "-b", backing, "--", path]
        done = self._write(argv)
        if not done.is_ok:
            raise CopyFailed(f"file {path} on {self.host}: not rebased on {backing}: {done.complaint}", host=self.host)

    def hold_image_locks(self, directories: Sequence[str], name: str, seconds: int) -> None:
        """Hold QEMU's image lock on a marker in each directory; it ends with the marker, or after the time."""
        for part in batches(directories):
            self._run(HOLD_LOCKS, [name, str(seconds), *part])

    def find_image_locks(self, markers: Sequence[str]) -> tuple[str, ...]:
        """Return those of the marker files that another QEMU holds."""
        found: set[str] = set()
        for part in batches(markers):
            found |= set(self._run(FIND_LOCKS, part).stdout.split("\0"))
        return tuple(marker for marker in markers if marker in found)

    def find_qemu(self, name: str, uuid: UUID) -> str:
        """Return number and start of this domain's QEMU; empty where none is found."""
        return self._run(FIND_QEMU, [name, str(uuid)]).stdout.strip()

    def await_end(self, process: str, seconds: int) -> bool:
        """Wait for the end of a process; False when it lives on after so many seconds."""
        timeout_s = self._settings.call_timeout_s + seconds
        done = self._run(AWAIT_END, [*process.split(), str(seconds)], timeout_s=timeout_s)
        return done.is_ok and done.stdout.strip() == "ended"

    def measure_link(self, dest: Host, seconds: float) -> float:
        """Return how many MiB/s one ssh stream carries, from zeros received for `seconds`."""
        return measure_link(self._shell, self.host, dest, seconds, timeout_s=self._settings.call_timeout_s)

    def publish(self, staging: str, path: str) -> None:
        """Give a staged file its name with a hard link, which never replaces an existing file."""
        done = self._write(["sh", "-c", _PUBLISH, "publish", staging, path])
        if not done.is_ok:
            raise CopyFailed(f"file {path} on {self.host}: not published: {done.complaint}", host=self.host)

    def set_aside(self, path: str, aside: str) -> None:
        """Rename a file without ever replacing one; no-op when it is already done."""
        done = self._write(["sh", "-c", _SET_ASIDE, "set-aside", path, aside])
        if not done.is_ok:
            raise PermanentError(f"file {path} on {self.host}: not set aside: {done.complaint}", host=self.host)

    def remove_file(self, path: str) -> None:
        """Remove a file, and its directory when that is an empty staging directory of ours."""
        done = self._write(["sh", "-c", _REMOVE, "remove", path])
        if not done.is_ok:
            raise PermanentError(f"file {path} on {self.host}: not removed: {done.complaint}", host=self.host)

    def _copy_timeout_s(self) -> float:
        return self._settings.copy_timeout_s or 7 * 86400.0

    def _read(self, argv: Sequence[str], *, timeout_s: float | None = None) -> Completed:
        return self._shell.run(argv, timeout_s=timeout_s or self._settings.call_timeout_s)

    def _write(self, argv: Sequence[str], *, timeout_s: float | None = None) -> Completed:
        return self._shell.run(argv, timeout_s=timeout_s or self._settings.call_timeout_s, is_write=True)

    def _must(self, argv: Sequence[str], *, timeout_s: float | None = None) -> str:
        """Return the output of a read; raises PermanentError when the command fails."""
        done = self._read(argv, timeout_s=timeout_s)
        if done.exit_code in (126, 127):
            raise PermanentError(f"host {self.host}: `{argv[0]}` is missing; install it", host=self.host)
        if not done.is_ok:
            if argv[0] == "virsh":  # libvirtd is down: the host may come back
                raise HostUnreachable(f"host {self.host}: `virsh`: {done.complaint}", host=self.host)
            raise PermanentError(f"host {self.host}: `{argv[0]}`: {done.complaint}", host=self.host)
        return done.stdout

    def _run(self, script: Script, argv: Sequence[str] = (), *, timeout_s: float | None = None) -> Completed:
        """Run a script with `argv` as its arguments; raises PermanentError when the host lacks what it needs."""
        done = self._shell.run_script(script, argv, timeout_s=timeout_s or self._settings.call_timeout_s)
        if done.exit_code in (126, 127):
            text = f"host {self.host}: {script.name}: {done.complaint}; install what is missing (bash, coreutils)"
            raise PermanentError(text, host=self.host)
        return done

    def _found(self, done: Completed) -> str:
        """Return the output of stat on paths of which some may be missing; raises PermanentError for other trouble."""
        trouble = stat_trouble(done.stderr)
        if done.exit_code > 1 or (trouble and not done.is_ok):
            raise PermanentError(f"host {self.host}: {trouble or done.complaint}", host=self.host)
        return done.stdout
