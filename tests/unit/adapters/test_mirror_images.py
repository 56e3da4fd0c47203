"""What `qemu-img info` tells of an image, and the arguments that make one like it."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.unit.planning.test_mirroring import plan
from vmferry.adapters.libvirt_yank import _ours
from vmferry.adapters.ssh_images import IMAGES, MAKE_IMAGE, chain_arguments, image_arguments, made_image, parse_images
from vmferry.adapters.ssh_shell import Completed, Script
from vmferry.errors import CopyFailed
from vmferry.model.disks import LiveDisk
from vmferry.model.facts import ImageFacts, ImageFile


def run(script: Script, argv: list[str]) -> Completed:
    """Run a script as bash on a host would."""
    done = subprocess.run(["bash", "-c", script.text, script.name, *argv], capture_output=True, text=True, check=False)
    return Completed(exit_code=done.returncode, stdout=done.stdout, stderr=done.stderr, began_s=0, ended_s=0)


def read(path: Path, image_format: str) -> ImageFacts:
    asked = [ImageFile(path=str(path), format=image_format)]
    return parse_images(run(IMAGES, chain_arguments(asked)).stdout, asked)[str(path)]


def create(path: Path, *options: str) -> Path:
    subprocess.run(["qemu-img", "create", "-q", *options, path, "12345344"], check=True)
    return path


@pytest.mark.parametrize(
    "options",
    [
        ["-f", "raw"],
        ["-f", "qcow2"],
        ["-f", "qcow2", "-o", "cluster_size=2M,lazy_refcounts=on,refcount_bits=8"],
        ["-f", "qcow2", "-o", "compat=0.10"],
        ["-f", "qcow2", "-o", "extended_l2=on,compression_type=zstd,preallocation=metadata"],
    ],
)
def test_an_image_is_made_as_its_original_was(tmp_path: Path, options: list[str]) -> None:
    original = create(tmp_path / "it's an image", *options)
    original.chmod(0o640)
    facts = read(original, options[1])
    there = tmp_path / ".vmferry-run" / "copy"
    disk = LiveDisk(
        target="vda",
        source_path=str(original),
        dest_path=str(there),
        size_bytes=facts.virtual_bytes,
        format=facts.format,
        options=facts.options,
        owner=facts.owner,
        mode=facts.mode,
    )
    inode = made_image(run(MAKE_IMAGE, image_arguments(disk)), disk, "kvm2")
    assert (there.stat().st_ino, there.stat().st_mode & 0o777) == (inode, 0o640)
    assert read(there, options[1]) == facts.model_copy(update={"path": str(there)})
    assert facts.virtual_bytes == 12345344
    with pytest.raises(CopyFailed, match="exist"):
        made_image(run(MAKE_IMAGE, image_arguments(disk)), disk, "kvm2")
    assert there.stat().st_ino == inode


def test_an_image_builds_on_its_base_which_must_be_there(tmp_path: Path) -> None:
    base, there = tmp_path / "base", tmp_path / "new" / "top"
    disk = LiveDisk(
        target="vda",
        source_path="/x",
        dest_path=str(there),
        size_bytes=1 << 20,
        format="qcow2",
        backing=str(base),
        backing_format="raw",
        owner="nobody-of-this-name:none",
    )
    with pytest.raises(CopyFailed, match="base"):
        made_image(run(MAKE_IMAGE, image_arguments(disk)), disk, "kvm2")
    assert not there.exists()
    create(base, "-f", "raw")
    made_image(run(MAKE_IMAGE, image_arguments(disk)), disk, "kvm2")
    assert (read(there, "qcow2").backing, read(there, "qcow2").backing_format) == (str(base), "raw")


def test_what_is_not_what_the_xml_calls_it_is_not_read(tmp_path: Path) -> None:
    plain = create(tmp_path / "a", "-f", "raw")
    asked = [ImageFile(path=str(plain), format="qcow2"), ImageFile(path=str(tmp_path / "gone"), format="raw")]
    assert parse_images(run(IMAGES, chain_arguments(asked)).stdout, asked) == {}


def said(**fields: Any) -> str:
    return json.dumps({"format": "qcow2", "virtual-size": 1, "cluster-size": 65536, **fields})


def test_what_vmferry_cannot_make_is_told() -> None:
    asked = [ImageFile(path=path, format="qcow2") for path in ("a", "b", "c")]
    data = {"type": "qcow2", "data": {"compat": "1.1", "data-file": "d"}}
    text = f"a\0u:g 600\0{said(encrypted=True)}\0b\0\0{said(**{'format-specific': data})}\0c\0\0no JSON\0"
    found = parse_images(text, asked)
    assert (found["a"].is_encrypted, found["a"].owner, found["a"].mode) == (True, "u:g", 0o600)
    assert (found["b"].data_file, found["b"].mode) == ("d", None)
    assert set(found) == {"a", "b"}


def test_only_the_connections_of_the_move_are_closed() -> None:
    ours = [{"type": "migration"}, {"type": "block-node", "node-name": "migration-vda-storage"}]
    others = [{"type": "chardev", "id": "c"}, {"type": "block-node", "node-name": "libvirt-1-storage"}]
    assert _ours(plan(), [*others, *ours]) == ours
