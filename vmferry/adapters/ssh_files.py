"""Files and devices of a host: the scripts that look for them, and what they print."""

from __future__ import annotations

import posixpath
import re
import shlex
from collections.abc import Iterator, Sequence

from vmferry.adapters.ssh_shell import Script
from vmferry.model.facts import FileFacts, StoredFile

# sshd hands a command to the shell as one argument, and Linux allows 128 KiB for one (MAX_ARG_STRLEN).
_COMMAND_BYTES = 96 * 1024
_MARKER = ".vmferry-marker-"

# Finds in the sysfs directory $1 of a block device: its size in sectors, the number of the partition, where a name was
# found, and the name. A partition's disk is the directory above it. udev and lsblk are not on every host.
NAME_DEVICE = r"""name_device() {
  local disk=$1 source
  sectors= part= from= name=
  { read -r sectors <"$1/size"; } 2>/dev/null
  if [ -f "$1/partition" ]; then disk=$1/..; { read -r part <"$1/partition"; } 2>/dev/null; fi
  for source in dm/uuid md/uuid wwid device/wwid; do
    if [ -f "$disk/$source" ] && { read -r name <"$disk/$source"; } 2>/dev/null && [ -n "$name" ]; then
      from=$source
      return 0
    fi
  done
}
"""

# Records of stat, and for each block device one more that begins with @: what `name_device` found, and the path.
STAT = Script(
    "stat-files",
    NAME_DEVICE
    + r"""identify() {
  local numbers sectors part from name
  numbers=$(stat --dereference --printf '%t %T' -- "$1" 2>/dev/null) || return 0
  name_device "/sys/dev/block/$(( 16#${numbers% *} )):$(( 16#${numbers#* } ))"
  printf '@%s\x1f%s\x1f%s\x1f%s\x1f%s\0' "$sectors" "$part" "$from" "$name" "$1"
}
stat --dereference --printf '%s %b %B %f %i %.9Y %n\0' -- "$@"
code=$?
for path in "$@"; do [ ! -b "$path" ] || identify "$path"; done
exit $code
""",
)

MAKE_MARKERS = Script(
    "make-markers",
    r"""name=$1
shift
for directory in "$@"; do
  if [ -d "$directory" ] && touch -- "$directory/$name" 2>/dev/null; then printf '%s\0' "$directory"; fi
done
exit 0
""",
    is_write=True,
)

REMOVE_MARKERS = Script(
    "remove-markers",
    r"""name=$1 code=0
shift
for directory in "$@"; do rm -f -- "$directory/$name" || code=1; done
exit $code
""",
    is_write=True,
)

# A directory of the inventory may be a symbolic link (-H). Unreadable corners are passed over.
LIST = Script(
    "list-files",
    r"""for directory in "$@"; do
  [ ! -d "$directory" ] || find -H "$directory" -xdev -type f -printf '%s %b %T@ %p\0' 2>/dev/null
done
exit 0
""",
)

# The header of qcow and qcow2 (QEMU docs/interop/qcow2.txt): magic, version, offset (8 bytes) and length (4) of the
# backing file's name, big endian. `read` stops at the first zero byte: an empty raw image costs nothing.
# The end of the name is marked, for $( ) would eat newlines there.
BACKING = Script(
    "backing-files",
    r"""code=0
for path in "$@"; do
  [ -f "$path" ] || [ -b "$path" ] || continue
  if [ ! -r "$path" ]; then echo "$path: cannot be read" >&2; code=1; continue; fi
  magic=
  if ! IFS= read -r -d '' -n 3 magic <"$path" && [ "$(stat -L -c %s -- "$path")" != 0 ] && [ ${#magic} -lt 1 ]; then
    echo "$path: cannot be read" >&2; code=1; continue
  fi
  [ "$magic" = QFI ] || continue
  b=($(od -An -v -tu1 -j 8 -N 12 -- "$path")) && [ ${#b[@]} = 12 ] || { echo "$path: no header" >&2; code=1; continue; }
  at=$(( b[0]<<56 | b[1]<<48 | b[2]<<40 | b[3]<<32 | b[4]<<24 | b[5]<<16 | b[6]<<8 | b[7] ))
  size=$(( b[8]<<24 | b[9]<<16 | b[10]<<8 | b[11] ))
  [ $at -gt 0 ] && [ $size -gt 0 ] && [ $size -le 1023 ] || continue
  name=$(tail -c "+$(( at + 1 ))" -- "$path" | head -c "$size"; printf .)
  printf '%s\0%s\0' "$path" "${name%.}"
done
exit $code
""",
)


def fits(argv: Sequence[str]) -> bool:
    """Whether the arguments may go into one command."""
    return sum(len(shlex.quote(word).encode()) + 1 for word in argv) <= _COMMAND_BYTES


def batches(paths: Sequence[str]) -> Iterator[list[str]]:
    """Yield the paths in their order, in as few parts as fit into one command each."""
    part: list[str] = []
    size = 0
    for path in paths:
        needed = len(shlex.quote(path).encode()) + 1
        if part and size + needed > _COMMAND_BYTES:
            yield part
            part, size = [], 0
        part.append(path)
        size += needed
    if part:
        yield part


# What stat says of a missing path; and what bash of RHEL 7 says of C.UTF-8, which that system does not have.
_HARMLESS = re.compile(r"(No such file or directory|Not a directory)$|^\S+: warning: setlocale: ")


def stat_trouble(stderr: str) -> str:
    """Return what stat complained of besides paths that are missing; empty when there is nothing."""
    return " ".join(line for line in stderr.splitlines() if not _HARMLESS.search(line))


def parse_stat(text: str) -> dict[str, FileFacts]:
    """Return the facts by path, in the order of the records; a block device has its real size and its identity."""
    found: dict[str, FileFacts] = {}
    for record in filter(None, text.split("\0")):
        if record.startswith("@"):
            sectors, part, source, name, path = record[1:].split("\x1f", 4)
            if path in found:
                more = {"size_bytes": int(sectors or 0) * 512, "device_id": device_id(source, name, part)}
                found[path] = found[path].model_copy(update=more)
            continue
        size, blocks, block_size, mode, inode, changed, path = record.split(" ", 6)
        found[path] = FileFacts(
            path=path,
            size_bytes=int(size),
            allocated_bytes=int(blocks) * int(block_size),
            is_block=int(mode, 16) & 0o170000 == 0o060000,
            inode=int(inode),
            mtime_ns=int(changed.replace(".", "")),
        )
    return found


def parse_list(text: str) -> tuple[StoredFile, ...]:
    """Return what find printed, sorted by path, each file once; our own markers are left out."""
    found = {}
    for record in filter(None, text.split("\0")):
        size, blocks, changed, path = record.split(" ", 3)
        if not posixpath.basename(path).startswith(_MARKER):
            found[path] = StoredFile(
                path=path,
                size_bytes=int(size),
                allocated_bytes=int(blocks) * 512,
                modified_at_s=int(changed.partition(".")[0]),
            )
    return tuple(found[path] for path in sorted(found))


def parse_backing(text: str) -> dict[str, str]:
    """Return the backing file's name by image, as the headers spell it."""
    words = text.split("\0")[:-1]
    return dict(zip(words[::2], words[1::2], strict=True))


# Device mapper: LVM has the UUIDs of volume group and volume, multipath the name of the disk below, behind scsi_id's
# digit for SCSI (2: EUI-64, 3: NAA, 8: a name string), LUKS the UUID of its header. Others only repeat what they are
# called (CRYPT-PLAIN).
_MAPPED = re.compile(
    r"(?:part(?P<part>\d+)-)?"
    r"(?:mpath-(?P<kind>[238]?)(?P<wwid>.+)|(?P<own>LVM-[0-9A-Za-z]{64}.*|CRYPT-LUKS\d?-[0-9a-f]{32}-.*))"
)
_SCSI_ID = {"2": "eui.", "3": "naa.", "8": "", "": ""}
# World wide names: NAA 2, 5 and 6 begin with the maker's number; EUI-64, NGUID and UUID of NVMe.
_WORLDWIDE = re.compile(
    r"naa\.[256][0-9a-f]{15}(?:[0-9a-f]{16})?|eui\.(?:[0-9a-f]{16}|[0-9a-f]{32})|uuid\.[0-9a-f-]{36}"
)
# Names that are the same on machines which share nothing: tgtd's maker number is 0, QEMU's NVMe counts from 52:54:00.
_COMMONPLACE = re.compile(r"naa\.[256]000000|eui\.525400|eui\.0+$|uuid\.[0-]+$")


def device_id(source: str, name: str, part: str) -> str:
    """Return what tells the device from every other one; empty where nothing does.

    Equal names must prove one device, for two VMs that write to what each believes to be its own lose data. So what
    others might bear too is no name: a serial number, a T10 or `nvme.` name made of what the maker typed in, NAA 3,
    which is given out locally.
    """
    match source:
        case "dm/uuid":
            found = _mapped(name)
        case "md/uuid":
            found = f"md-{name}" if re.fullmatch(r"[0-9a-fA-F:-]{32,36}", name) and name.strip("0:-") else ""
        case _:
            found = _worldwide(name)
    return f"{found}-part{part}" if found and part else found


def _mapped(name: str) -> str:
    match = _MAPPED.fullmatch(name)
    if match is None:
        return ""
    found = match["own"] or _worldwide(_SCSI_ID[match["kind"]] + match["wwid"])
    return f"{found}-part{match['part']}" if found and match["part"] else found


def _worldwide(name: str) -> str:
    lower = name.strip().lower()
    return lower if _WORLDWIDE.fullmatch(lower) and not _COMMONPLACE.match(lower) else ""
