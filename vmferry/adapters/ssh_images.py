"""What image files build on and are made of; empty ones for QEMU to mirror into."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from vmferry.adapters.ssh_shell import Completed, Script
from vmferry.errors import CopyFailed
from vmferry.model.disks import LiveDisk
from vmferry.model.facts import ImageFacts, ImageFile

# Arguments: format and path, one pair per image. The format is the domain XML's, never probed: a guest could write a
# header of its choice into a raw disk. With a broken chain the image itself still tells what it builds on; RHEL 7's
# qemu-img knows no -U.
CHAINS = Script(
    "backing-chains",
    r"""info() { timeout 10 qemu-img info --output=json "$@" 2>/dev/null </dev/null; }
while (( $# > 1 )); do
  said=$(info -U --backing-chain -f "$1" -- "$2") || said=$(info -U -f "$1" -- "$2") || said=$(info -f "$1" -- "$2")
  printf '%s\0%s\0' "$2" "$said"
  shift 2
done
exit 0
""",
)


def chain_arguments(images: Sequence[ImageFile]) -> list[str]:
    """Return the script's arguments."""
    return [word for image in images for word in (image.format, image.path)]


def parse_chains(text: str) -> dict[str, tuple[str, ...]]:
    """Return path → backing files, nearest first; an image that qemu-img could not read is left out."""
    words = text.split("\0")
    found = {}
    for path, said in zip(words[::2], words[1::2], strict=False):
        chain = _chain(said)
        if chain is not None:
            found[path] = chain
    return found


def _chain(said: str) -> tuple[str, ...] | None:
    try:
        read = json.loads(said)
    except ValueError:
        return None
    layers = read if isinstance(read, list) else [read]
    if not layers or not all(isinstance(layer, dict) for layer in layers):
        return None
    backing = [layer.get("full-backing-filename") or layer.get("backing-filename") for layer in layers]
    return tuple(str(name) for name in backing if name)


# Arguments: format and path, one pair per image; as in CHAINS the format is never probed. `stat`: owner and mode.
IMAGES = Script(
    "images",
    r"""info() { timeout 10 qemu-img info --output=json "$@" 2>/dev/null </dev/null; }
while (( $# > 1 )); do
  said=$(info -U -f "$1" -- "$2") || said=$(info -f "$1" -- "$2")
  printf '%s\0%s\0%s\0' "$2" "$(stat -L -c '%U:%G %a' -- "$2" 2>/dev/null)" "$said"
  shift 2
done
exit 0
""",
)

# Arguments: path, format, size in bytes, options, backing file, its format, owner, mode. The directory is the run's
# own, so nobody else makes a file there; `set -C` is O_EXCL, and an old one is not taken for ours. An owner that this
# host does not know is left out: libvirt gives the file to QEMU (dynamic_ownership).
MAKE_IMAGE = Script(
    "make-image",
    r"""set -eu
umask 077
into=$(dirname -- "$1")
mkdir -p -m 700 -- "$into"
( set -C; : > "$1" )
args=(-q -f "$2")
[ -z "$4" ] || args+=(-o "$4")
[ -z "$5" ] || args+=(-b "$5" -F "$6")
if ! said=$(qemu-img create "${args[@]}" -- "$1" "$3" 2>&1 </dev/null); then
  rm -f -- "$1"
  printf '%s\n' "$said" >&2
  exit 1
fi
[ -z "$7" ] || chown -- "$7" "$1" 2>/dev/null || :
chmod -- "${8:-600}" "$1"
sync -- "$1"
stat -c %i -- "$1"
""",
    is_write=True,
)


def parse_images(text: str, images: Sequence[ImageFile]) -> dict[str, ImageFacts]:
    """Return path → facts; an image that qemu-img could not read, or reads as another format, is left out."""
    asked = {image.path: image.format for image in images}
    words = text.split("\0")
    found = {}
    for path, stat, said in zip(words[::3], words[1::3], words[2::3], strict=False):
        facts = _image(path, stat, said)
        if facts is not None and facts.format == asked.get(path):
            found[path] = facts
    return found


def _image(path: str, stat: str, said: str) -> ImageFacts | None:
    try:
        read = json.loads(said)
        details = read.get("format-specific", {}).get("data", {})
        owner, _, mode = stat.partition(" ")
        return ImageFacts(
            path=path,
            format=read["format"],
            virtual_bytes=read["virtual-size"],
            options=_options(read, details),
            backing=read.get("full-backing-filename") or read.get("backing-filename"),
            backing_format=read.get("backing-filename-format"),
            is_encrypted=bool(read.get("encrypted")) or "encrypt" in details,
            data_file=details.get("data-file"),
            owner=owner,
            mode=int(mode, 8) if mode else None,
        )
    except (ValueError, KeyError, AttributeError, TypeError):
        return None


def _options(read: dict[str, Any], details: dict[str, Any]) -> dict[str, str]:
    """Return what of an image's making matters to its guest or its size; preallocation is never repeated."""
    if read["format"] != "qcow2":
        return {}
    found = {"compat": str(details.get("compat", "1.1")), "cluster_size": str(read.get("cluster-size", 65536))}
    if found["compat"] == "0.10":
        return found
    found["lazy_refcounts"] = "on" if details.get("lazy-refcounts") else "off"
    found["refcount_bits"] = str(details.get("refcount-bits", 16))
    if details.get("extended-l2"):
        found["extended_l2"] = "on"
    if details.get("compression-type", "zlib") != "zlib":
        found["compression_type"] = str(details["compression-type"])
    return found


def image_arguments(disk: LiveDisk) -> list[str]:
    """Return the arguments of MAKE_IMAGE."""
    options = ",".join(f"{name}={value}" for name, value in disk.options.items())
    backing = (disk.backing or "", disk.backing_format or "")
    mode = f"{disk.mode:o}" if disk.mode is not None else ""
    return [disk.dest_path, disk.format, str(disk.size_bytes), options, *backing, disk.owner, mode]


def made_image(done: Completed, disk: LiveDisk, host: str) -> int:
    """Return the inode of the image that MAKE_IMAGE made; raises CopyFailed."""
    inode = done.stdout.strip()
    if not done.is_ok or not inode.isdigit():
        raise CopyFailed(
            f"disk {disk.target}: {disk.dest_path} was not made on {host}: {done.complaint}; the source is unchanged",
            host=host,
        )
    return int(inode)
