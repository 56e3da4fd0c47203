"""What image files build on: the XML of a VM that is shut off does not tell it."""

from __future__ import annotations

import json
from collections.abc import Sequence

from vmferry.adapters.ssh_shell import Script
from vmferry.model.facts import ImageFile

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
