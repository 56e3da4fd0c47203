"""Backing files as qemu-img reads them, on a real sshd: real images, odd names, broken chains."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.adapters.sshd import open_tools
from vmferry.adapters.ssh_images import parse_chains
from vmferry.adapters.ssh_tools import SshTools
from vmferry.model.facts import ImageFile


@pytest.fixture(scope="module")
def tools(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SshTools]:
    with open_tools(tmp_path_factory.mktemp("images")) as opened:
        yield opened


def make(path: Path, base: Path | str | None = None, format: str = "qcow2") -> ImageFile:
    on = [] if base is None else ["-b", str(base), "-F", "raw" if str(base).endswith(".img") else "qcow2"]
    subprocess.run(["qemu-img", "create", "-q", "-f", format, *on, path, *([] if base else ["1M"])], check=True)
    return ImageFile(path=str(path), format=format)


def test_every_layer_is_told_nearest_first_whatever_its_name(tools: SshTools, tmp_path: Path) -> None:
    base = make(tmp_path / "base.img", format="raw")
    middle = make(tmp_path / "it's $(odd).qcow2", "base.img")
    top = make(tmp_path / "-top", middle.path)
    alone = make(tmp_path / "alone.qcow2")
    assert tools.backing_chains([top, alone]) == {top.path: (middle.path, base.path), alone.path: ()}


def test_a_chain_whose_base_is_gone_is_told_as_far_as_the_image_knows(tools: SshTools, tmp_path: Path) -> None:
    base = make(tmp_path / "base.img", format="raw")
    top = make(tmp_path / "top.qcow2", base.path)
    Path(base.path).unlink()
    assert tools.backing_chains([top]) == {top.path: (base.path,)}


def test_what_cannot_be_read_is_left_out_and_hides_no_other(tools: SshTools, tmp_path: Path) -> None:
    good = make(tmp_path / "good.qcow2")
    raw = tmp_path / "raw"
    raw.write_bytes(b"no header" * 1000)
    wrong = [ImageFile(path=str(raw), format="qcow2"), ImageFile(path=f"{tmp_path}/missing", format="qcow2")]
    assert tools.backing_chains([*wrong, good]) == {good.path: ()}
    assert tools.backing_chains([]) == {}


def test_output_that_is_not_understood_is_no_chain() -> None:
    assert parse_chains("/a\0\0/b\0[]\0/c\0nonsense\0/d\0[1]\0/e\0{}\0") == {"/e": ()}
