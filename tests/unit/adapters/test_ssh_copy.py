"""Copies between two sshd on loopback: equal, sparse, in nobody's way, and by the best method that is left."""

from __future__ import annotations

import ast
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.adapters.copying import Hosts, allocated, make_image, open_hosts, wait_until_nothing_runs
from tests.unit.adapters.sshd import Sshd, make_key
from vmferry.adapters.ssh_program import module_texts
from vmferry.adapters.ssh_tools import SshTools
from vmferry.errors import CopyFailed, HostUnreachable, PermanentError
from vmferry.model.disks import CopyMethod, CopyOptions, CopyStats

MIB = 2**20
NAMES = ("two words.qcow2", "new\nline.qcow2", "-rf", "it's $(odd); `x`.raw", "größe.raw", "back\\slash")
METHODS = tuple(CopyMethod)
SPARSE = tuple(method for method in METHODS if method is not CopyMethod.SCP)


@pytest.fixture(scope="module")
def hosts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hosts]:
    with open_hosts(tmp_path_factory.mktemp("copies")) as made:
        yield made


def staged(tmp_path: Path, name: str = "image") -> Path:
    return tmp_path / "to" / ".vmferry-run-1" / name


@pytest.mark.parametrize("name", NAMES)
def test_a_copy_has_its_content_and_name_at_the_other_host(hosts: Hosts, tmp_path: Path, name: str) -> None:
    (tmp_path / "from here $(x)").mkdir()
    image = tmp_path / "from here $(x)" / name
    image.write_bytes(os.urandom(100_000))
    copy = tmp_path / "to there 'y'" / ".vmferry-run-1" / name
    first = hosts.copy(image, copy)
    again = hosts.copy(image, copy)
    assert copy.read_bytes() == image.read_bytes()
    assert stat.S_IMODE(copy.parent.stat().st_mode) == 0o700
    assert (first.sent_bytes, first.resumed_bytes) == (100_000, 0)
    assert (again.sent_bytes, again.resumed_bytes) == (0, 100_000)


@pytest.mark.parametrize("method", METHODS)
def test_every_method_gives_an_equal_file_with_the_modes_of_the_original(
    hosts: Hosts, tmp_path: Path, method: CopyMethod
) -> None:
    image = tmp_path / "it's one"
    content = make_image(image, size=16 * MIB + 77, data=2 * MIB)
    image.chmod(0o640)
    seen: list[CopyStats] = []
    for _ in range(2):  # what is there already does no harm
        done = hosts.copy(image, staged(tmp_path, "it's two"), CopyOptions(method=method), seen.append)
        assert done.method is method
        assert done.reason.startswith("asked for")
    copy = staged(tmp_path, "it's two")
    assert copy.read_bytes() == content == image.read_bytes()
    assert stat.S_IMODE(copy.stat().st_mode) == 0o640
    assert [path.name for path in copy.parent.iterdir()] == [copy.name]
    assert seen and all(one.path == str(image) and one.done_bytes <= one.total_bytes for one in seen)
    wait_until_nothing_runs(str(tmp_path))


@pytest.mark.parametrize("method", SPARSE)
def test_holes_stay_holes(hosts: Hosts, tmp_path: Path, method: CopyMethod) -> None:
    image = tmp_path / "image"
    make_image(image, size=256 * MIB, data=256 * 1024)
    done = hosts.copy(image, staged(tmp_path), CopyOptions(method=method))
    assert staged(tmp_path).stat().st_size == 256 * MIB
    assert allocated(staged(tmp_path)) <= MIB
    assert done.sent_bytes <= MIB


def test_zeros_that_are_written_out_are_not_sent(hosts: Hosts, tmp_path: Path) -> None:
    image = tmp_path / "image"
    image.write_bytes(bytes(8 * MIB) + b"x" + bytes(MIB))
    done = hosts.copy(image, staged(tmp_path))
    assert staged(tmp_path).read_bytes() == image.read_bytes()
    assert done.sent_bytes <= 64 * 1024
    assert allocated(staged(tmp_path)) <= 128 * 1024


@pytest.mark.parametrize("size", [0, 1, 1 << 30])
def test_a_file_that_is_only_a_hole_is_copied(hosts: Hosts, tmp_path: Path, size: int) -> None:
    image = tmp_path / "image"
    with image.open("wb") as file:
        file.truncate(size)
    assert hosts.copy(image, staged(tmp_path)).sent_bytes == 0
    assert (staged(tmp_path).stat().st_size, allocated(staged(tmp_path))) == (size, 0)


def test_owner_and_mode_are_kept_where_that_is_asked_for(hosts: Hosts, tmp_path: Path) -> None:
    """For NVRAM and TPM state, whose directory may be missing too."""
    state = tmp_path / "from" / "tpm2" / "state"
    state.parent.mkdir(parents=True)
    state.write_bytes(b"secret" * 1000)
    owner = (65534, 65534) if os.geteuid() == 0 else (os.geteuid(), os.getegid())
    for path, mode in ((state, 0o600), (state.parent, 0o710)):
        path.chmod(mode)
        os.chown(path, *owner)
    for number, method in enumerate(METHODS):
        copy = tmp_path / f"to{number}" / "tpm2" / ".vmferry-run-1" / "state"
        hosts.copy(state, copy, CopyOptions(method=method, keeps_owner=True))
        found = copy.stat()
        assert (found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)) == (*owner, 0o600)
    above = (tmp_path / "to0" / "tpm2").stat()
    assert (above.st_uid, stat.S_IMODE(above.st_mode)) == (owner[0], 0o710)


def test_progress_is_told_and_grows_up_to_the_whole(hosts: Hosts, tmp_path: Path) -> None:
    image = tmp_path / "image"
    make_image(image, size=32 * MIB, data=8 * MIB)
    seen: list[CopyStats] = []
    hosts.copy(image, staged(tmp_path), CopyOptions(bandwidth_mib_s=8), seen.append)
    assert len(seen) >= 2
    assert {one.total_bytes for one in seen} == {allocated(image)}
    assert [one.done_bytes for one in seen] == sorted(one.done_bytes for one in seen)
    assert seen[-1].sent_bytes > 0


def test_a_copy_is_not_faster_than_it_may_be(hosts: Hosts, tmp_path: Path) -> None:
    image = tmp_path / "image"
    make_image(image, size=32 * MIB, data=8 * MIB)
    done = hosts.copy(image, staged(tmp_path), CopyOptions(bandwidth_mib_s=8))
    assert done.sent_bytes == 8 * MIB
    assert done.seconds >= 0.8


# the best method that is left


@pytest.mark.parametrize(("source", "dest", "who"), [("one", "bare", "bare"), ("bare", "two", "bare")])
def test_without_python_tar_does_it(hosts: Hosts, tmp_path: Path, source: str, dest: str, who: str) -> None:
    image = tmp_path / "image"
    content = make_image(image, size=8 * MIB, data=MIB)
    done = hosts.copy(image, staged(tmp_path), source=source, dest=dest)
    assert done.method is CopyMethod.TAR
    assert f"host {who}: no Python" in done.reason
    assert staged(tmp_path).read_bytes() == content
    assert allocated(staged(tmp_path)) <= 2 * MIB


@pytest.mark.parametrize("dest", ["two", "bare"])
def test_hosts_that_do_not_reach_each_other_are_helped(hosts: Hosts, tmp_path: Path, dest: str) -> None:
    image = tmp_path / "image"
    content = make_image(image, size=8 * MIB, data=MIB)
    done = hosts.copy(image, staged(tmp_path), source="mute", dest=dest)
    assert done.method is CopyMethod.RELAY
    assert f"mute cannot reach {dest} over ssh" in done.reason
    assert ("by tar" in done.reason) == (dest == "bare")
    assert staged(tmp_path).read_bytes() == content
    wait_until_nothing_runs(str(tmp_path))


def test_with_a_bandwidth_and_without_python_it_is_scp(hosts: Hosts, tmp_path: Path) -> None:
    image = tmp_path / "image"
    content = make_image(image, size=MIB, data=MIB)
    done = hosts.copy(image, staged(tmp_path), CopyOptions(bandwidth_mib_s=100), dest="bare")
    assert done.method is CopyMethod.SCP
    assert staged(tmp_path).read_bytes() == content


@pytest.mark.parametrize("name", [name for name, _ in module_texts()])
def test_the_program_is_python_3_6(name: str) -> None:
    """What ast.parse knows of it; platform-python of RHEL 8 is 3.6."""
    ast.parse(dict(module_texts())[name], feature_version=(3, 6))


# what is not copied, and what is not written to


def test_a_destination_that_cannot_be_written_fails_cleanly(hosts: Hosts, tmp_path: Path) -> None:
    image = tmp_path / "image"
    image.write_bytes(b"x" * 1_000_000)
    (tmp_path / "file").touch()
    for method in METHODS:
        with pytest.raises(CopyFailed, match="the source is unchanged") as caught:
            hosts.copy(image, tmp_path / "file" / ".vmferry-run-1" / "image", CopyOptions(method=method))
        assert "Not a directory" in str(caught.value) or "cannot create directory" in str(caught.value)
    assert image.stat().st_size == 1_000_000
    assert (tmp_path / "file").read_bytes() == b""


@pytest.mark.parametrize("method", METHODS)
def test_a_missing_file_is_not_copied_and_leaves_no_file(hosts: Hosts, tmp_path: Path, method: CopyMethod) -> None:
    with pytest.raises(CopyFailed, match="No such file"):
        hosts.copy(tmp_path / "missing", staged(tmp_path, "missing"), CopyOptions(method=method))
    assert not staged(tmp_path, "missing").exists()


def test_a_directory_is_not_copied(hosts: Hosts, tmp_path: Path) -> None:
    with pytest.raises(CopyFailed, match="neither a file nor a block device"):
        hosts.copy(tmp_path, staged(tmp_path))


def test_a_destination_that_the_source_does_not_know_gets_nothing(hosts: Hosts, tmp_path: Path) -> None:
    stranger = Sshd(tmp_path / "stranger", make_key(tmp_path / "key")).start()
    (tmp_path / "image").write_bytes(b"x")
    tools = SshTools(hosts.entry("one"), hosts.settings, ssh_config=str(hosts.config))
    try:
        with pytest.raises(CopyFailed, match="Host key verification failed"):
            tools.copy_file(str(tmp_path / "image"), stranger.entry("stranger"), str(staged(tmp_path)))
    finally:
        tools.close()
        stranger.stop()
    assert not staged(tmp_path).parent.exists()


def test_a_staged_copy_lies_in_a_staging_directory(hosts: Hosts, tmp_path: Path) -> None:
    (tmp_path / "image").write_bytes(b"x")
    with pytest.raises(PermanentError, match="not in a staging directory"):
        hosts.copy(tmp_path / "image", tmp_path / "other")


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("trap", ["symbolic link", "hard link", "linked directory", "open directory"])
def test_nothing_is_written_through_what_somebody_planted(
    hosts: Hosts, tmp_path: Path, trap: str, method: CopyMethod
) -> None:
    image, precious = tmp_path / "image", tmp_path / "precious"
    image.write_bytes(b"new" * 1000)
    precious.write_bytes(b"old" * 1000)
    copy = staged(tmp_path)
    copy.parent.parent.mkdir()
    match trap:
        case "linked directory":
            (tmp_path / "elsewhere").mkdir(mode=0o700)
            copy.parent.symlink_to(tmp_path / "elsewhere")
        case "open directory":
            copy.parent.mkdir()
            copy.parent.chmod(0o777)
        case "symbolic link":
            copy.parent.mkdir(mode=0o700)
            copy.symlink_to(precious)
        case _:
            copy.parent.mkdir(mode=0o700)
            copy.hardlink_to(precious)
    with pytest.raises(CopyFailed):
        hosts.copy(image, copy, CopyOptions(method=method))
    assert precious.read_bytes() == b"old" * 1000
    assert trap != "linked directory" or list((tmp_path / "elsewhere").iterdir()) == []


@pytest.mark.parametrize("change", ["written", "replaced", "cut"])
def test_an_original_that_changes_meanwhile_is_in_use(hosts: Hosts, tmp_path: Path, change: str) -> None:
    image = tmp_path / "image"
    content = make_image(image, size=16 * MIB, data=8 * MIB)

    def meddle(_stats: CopyStats) -> None:
        if change == "replaced":
            (tmp_path / "other").write_bytes(content)
            (tmp_path / "other").replace(image)
        elif change == "cut":
            os.truncate(image, MIB)
        else:
            with image.open("r+b") as file:
                file.write(b"!")

    with pytest.raises(CopyFailed, match="it is in use"):
        hosts.copy(image, staged(tmp_path), CopyOptions(bandwidth_mib_s=8), meddle)
    wait_until_nothing_runs(str(tmp_path))


# the link


def test_the_link_is_measured(hosts: Hosts) -> None:
    tools = SshTools(hosts.entry("one"), hosts.settings, ssh_config=str(hosts.config))
    assert tools.measure_link(hosts.entry("two"), 0.5) > 1
    tools.close()


def test_a_link_that_is_not_there_is_not_measured(hosts: Hosts) -> None:
    tools = SshTools(hosts.entry("mute"), hosts.settings, ssh_config=str(hosts.config))
    with pytest.raises(HostUnreachable, match="No route to host"):
        tools.measure_link(hosts.entry("two"), 0.5)
    tools.close()
