"""What an image's header says it builds on."""

from __future__ import annotations

import pytest

from vmferry.planning.leftovers import backing_path


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("/images/base.qcow2", "/images/base.qcow2"),
        ("base.qcow2", "/vm/base.qcow2"),
        ("../images/base.qcow2", "/images/base.qcow2"),
        ("./a:b.qcow2", "/vm/a:b.qcow2"),
        ("file:/images/base.qcow2", "/images/base.qcow2"),
        ("file:///images/base.qcow2", "/images/base.qcow2"),
        ("file:base.qcow2", "/vm/base.qcow2"),
    ],
)
def test_a_path_is_told_from_where_the_image_lies(text: str, path: str) -> None:
    assert backing_path("/vm/overlay.qcow2", text) == path


@pytest.mark.parametrize("text", ['json:{"file": "/x"}', "nbd://host/export", "host_device:/dev/sda", "rbd:pool/image"])
def test_what_is_no_path_is_none(text: str) -> None:
    assert backing_path("/vm/overlay.qcow2", text) is None
