"""libvirt's ssh is no member of our process group: Ctrl-C and Prefect's cancel do not end it."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from vmferry.adapters.libvirt_calls import open_connection
from vmferry.adapters.ssh_apart import apart
from vmferry.errors import HostUnreachable, InvalidInput
from vmferry.settings import read_settings
from vmferry.stopping import Stop, stoppable


def test_the_command_of_the_uri_runs_ssh_in_a_session_of_its_own(tmp_path: Path) -> None:
    fake = tmp_path / "bin"
    fake.mkdir()
    (fake / "ssh").write_text('#!/bin/sh\nps -o sid= -p $$\necho "$@"\n')
    (fake / "ssh").chmod(0o755)
    uri = apart("qemu+ssh://root@kvm1/system", tmp_path / "state")
    assert uri == f"qemu+ssh://root@kvm1/system?command={tmp_path}/state/ssh-apart"
    path = f"{fake}:{os.environ['PATH']}"
    process = subprocess.Popen(
        [uri.partition("command=")[2], "-T", "a b"], env={"PATH": path}, stdout=subprocess.PIPE, text=True
    )
    session, words = process.communicate(timeout=20)[0].splitlines()
    assert int(session) == process.pid != os.getsid(0)
    assert words == "-T a b"


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("qemu+ssh://kvm1/system?keyfile=/k", "qemu+ssh://kvm1/system?keyfile=/k&command="),
        ("qemu+ssh://kvm1/system?command=/my/ssh", "qemu+ssh://kvm1/system?command=/my/ssh"),
        ("qemu+tcp://kvm1/system", "qemu+tcp://kvm1/system"),
        ("test:///default", "test:///default"),
    ],
)
def test_what_else_a_uri_says_stays(uri: str, expected: str, tmp_path: Path) -> None:
    assert apart(uri, tmp_path).startswith(expected) and ("ssh-apart" in apart(uri, tmp_path)) == expected.endswith("=")


def test_a_place_where_nothing_can_be_made_is_an_error_with_the_remedy(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("no directory")
    with pytest.raises(InvalidInput, match="VMFERRY_STATE_DIR"):
        apart("qemu+ssh://kvm1/system", tmp_path / "state")


@pytest.mark.parametrize("was_asked", [True, False])
def test_only_after_a_request_to_stop_a_connection_that_broke_is_opened_once_more(
    was_asked: bool, tmp_path: Path
) -> None:
    count, command = tmp_path / "count", tmp_path / "ssh"
    command.write_text(f"#!/bin/sh\necho once >>{count}\nexit 1\n")
    command.chmod(0o755)
    stop = Stop()
    if was_asked:
        stop.ask("SIGTERM")
    with stoppable(stop), pytest.raises(HostUnreachable, match="kvm1"):
        open_connection(f"qemu+ssh://kvm1/system?command={command}", "kvm1", read_settings())
    assert len(count.read_text().splitlines()) == 1 + was_asked
