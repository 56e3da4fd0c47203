"""Files and devices on a real sshd: whatever stands in a path, and what is enough to tell one device from another."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.adapters.sshd import open_tools
from vmferry.adapters.ssh_files import NAME_DEVICE, batches, device_id, parse_list, parse_stat, stat_trouble
from vmferry.adapters.ssh_tools import SshTools
from vmferry.errors import PermanentError

ODD = ("two words", "new\nline", "it's $(odd); `x`", '"quoted"', "-rf", "größe", "back\\slash", "tab\tx", "@1\x1f2")
LVM = "LVM-" + "A1b2C3d4" * 8
NAA, EUI, NGUID = "naa.600140512345678901234567890abcde", "eui.0025388b71b14ef5", "eui.00000000000000010025384141412341"
UUID = "uuid.3f2504e0-4f89-41d3-9a0c-0305e82c3301"
LUKS = "CRYPT-LUKS2-3f2504e04f8941d39a0c0305e82c3301-luks-images"


@pytest.fixture(scope="module")
def tools(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SshTools]:
    with open_tools(tmp_path_factory.mktemp("files")) as opened:
        yield opened


# what tells a device


@pytest.mark.parametrize(
    ("source", "name", "told"),
    [
        ("dm/uuid", LVM, LVM),
        ("dm/uuid", f"{LVM}-tpool", f"{LVM}-tpool"),
        ("dm/uuid", LUKS, LUKS),
        ("dm/uuid", "mpath-3600140512345678901234567890abcde", NAA),
        ("dm/uuid", "part2-mpath-3600140512345678901234567890abcde", f"{NAA}-part2"),
        ("dm/uuid", "mpath-20025388b71b14ef5", EUI),
        ("dm/uuid", f"mpath-{UUID}", UUID),
        ("device/wwid", NAA, NAA),
        ("device/wwid", "naa.5000C500A1B2C3D4", "naa.5000c500a1b2c3d4"),
        ("wwid", EUI, EUI),
        ("wwid", NGUID, NGUID),
        ("wwid", UUID, UUID),
        ("md/uuid", "4f2c1a0b-11aa-22bb-33cc-44dd55ee66ff", "md-4f2c1a0b-11aa-22bb-33cc-44dd55ee66ff"),
    ],
)
def test_a_worldwide_name_tells_a_device(source: str, name: str, told: str) -> None:
    assert device_id(source, name, "") == told
    assert device_id(source, name, "3") == f"{told}-part3"


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("", ""),
        ("dm/uuid", "CRYPT-PLAIN-images"),  # nothing but what the administrator called it
        ("dm/uuid", "CRYPT-INTEGRITY-x"),
        ("dm/uuid", "LVM-short"),
        ("dm/uuid", "mpath-1IET_00010001"),  # tgtd: the same on every server
        ("dm/uuid", "mpath-0QEMU_QEMU_HARDDISK_drive-scsi0-0-0-0"),
        ("dm/uuid", "mpath-360000000000000000e00000000010001"),  # tgtd again: a maker with the number 0
        ("device/wwid", "naa.60000000000000000e00000000010001"),
        ("device/wwid", "naa.3000000100000001"),  # NAA 3: given out locally
        ("device/wwid", "t10.ATA     QEMU HARDDISK                           QM00001             "),
        ("wwid", "eui.5254000000000001"),  # QEMU's default for emulated NVMe
        ("wwid", "nvme.1b36-64656164-51454d55204e564d65204374726c-00000001"),
        ("wwid", "eui.0000000000000000"),
        ("wwid", "uuid.00000000-0000-0000-0000-000000000000"),
        ("md/uuid", "00000000:00000000:00000000:00000000"),
        ("md/uuid", "raid"),
    ],
)
def test_a_name_that_others_may_bear_tells_nothing(source: str, name: str) -> None:
    """Two hosts whose devices are called the same would take a local disk for a shared one."""
    assert device_id(source, name, "") == ""
    assert device_id(source, name, "1") == ""


def name_device(directory: Path) -> list[str]:
    """Run the script's own lines on a directory made like sysfs."""
    script = NAME_DEVICE + 'name_device "$1"; printf "%s|" "$sectors" "$part" "$from" "$name"'
    argv = ["bash", "-c", script, "x", str(directory)]
    return subprocess.run(argv, capture_output=True, text=True, check=True).stdout.split("|")[:-1]


def test_sysfs_is_searched_for_the_name_of_the_device_or_of_the_disk_that_a_partition_lies_on(tmp_path: Path) -> None:
    """Made like /sys/dev/block/MAJOR:MINOR of Linux 6.1: links to the devices, partitions below their disk."""
    for path, text in {
        "sda/size": "2048",
        "sda/device/wwid": NAA,
        "sda/sda1/size": "1024",
        "sda/sda1/partition": "1",
        "dm-0/size": "4096",
        "dm-0/dm/uuid": LVM,
        "dm-1/dm/uuid": "",
        "nvme0n1/wwid": EUI,
        "loop0/loop/backing_file": "/srv/image.raw",
    }.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(f"{text}\n")
    (tmp_path / "8:1").symlink_to("sda/sda1")
    assert name_device(tmp_path / "sda") == ["2048", "", "device/wwid", NAA]
    assert name_device(tmp_path / "8:1") == ["1024", "1", "device/wwid", NAA]
    assert name_device(tmp_path / "dm-0") == ["4096", "", "dm/uuid", LVM]
    assert name_device(tmp_path / "nvme0n1") == ["", "", "wwid", EUI]
    assert name_device(tmp_path / "dm-1")[2:] == name_device(tmp_path / "loop0")[2:] == ["", ""]
    assert name_device(tmp_path / "gone") == ["", "", "", ""]


def test_a_device_has_its_real_size_and_its_name_beside_what_stat_says() -> None:
    """Debian 12, coreutils 9.1, a disk that was given a name by hand."""
    text = f"0 0 512 61b0 102 1795449504.752579999 /dev/x\0@2048\x1f\x1fdm/uuid\x1f{LVM}\x1f/dev/x\0"
    facts = parse_stat(text)["/dev/x"]
    assert (facts.is_block, facts.size_bytes, facts.device_id) == (True, 1 << 20, LVM)
    assert facts.mtime_ns == 1795449504752579999


def test_the_devices_of_this_machine_are_told_or_not_and_none_is_called_like_another(tools: SshTools) -> None:
    """Loop and memory devices are the host's own: they have no name that another host could have too."""
    nodes = [Path("/dev") / path.name for path in Path("/sys/block").iterdir()]
    devices = [str(node) for node in nodes if node.is_block_device()]
    found = tools.stat_files([*devices, "/dev/null"])
    assert found.keys() == {*devices, "/dev/null"}
    local = [path for path in devices if Path(path).name.startswith(("loop", "ram", "zram"))]
    assert {found[path].device_id for path in local} <= {""}
    told = [found[path].device_id for path in devices if found[path].device_id]
    assert len(set(told)) == len(told)
    for path in devices:
        assert found[path].is_block
        assert found[path].size_bytes == int(Path(f"/sys/block/{Path(path).name}/size").read_text()) * 512
    assert not found["/dev/null"].is_block


def test_the_time_of_change_is_told_to_the_nanosecond(tools: SshTools, tmp_path: Path) -> None:
    path = tmp_path / "image"
    path.touch()
    os.utime(path, ns=(0, 1_700_000_000_000_000_007))
    assert tools.stat_files([str(path)])[str(path)].mtime_ns == path.stat().st_mtime_ns
    assert tools.stat_files([str(path)])[str(path)].device_id == ""


def test_a_missing_path_is_no_trouble_and_a_missing_locale_neither() -> None:
    """The first two: coreutils 9.1 on Debian 12. The last by hand: bash 4.2 on RHEL 7, which has no C.UTF-8."""
    missing = "stat: cannot statx '/a': No such file or directory\nstat: cannot statx '/b/c': Not a directory\n"
    locale = "bash: warning: setlocale: LC_ALL: cannot change locale (C.UTF-8)\n"
    loop = "stat: cannot statx '/loop': Too many levels of symbolic links"
    assert stat_trouble(locale + missing) == ""
    assert stat_trouble(f"{missing}{loop}\n") == loop


def test_a_symbolic_link_to_a_device_is_the_device(tools: SshTools, tmp_path: Path) -> None:
    node = next(Path("/dev") / p.name for p in Path("/sys/block").iterdir() if (Path("/dev") / p.name).exists())
    link = tmp_path / "my disk\n"
    link.symlink_to(node)
    assert tools.stat_files([str(link)])[str(link)].is_block


# markers


def test_markers_are_made_where_a_directory_can_be_written_and_removed_again(tools: SshTools, tmp_path: Path) -> None:
    directories = [tmp_path / name for name in ODD]
    for directory in directories:
        directory.mkdir()
    (tmp_path / "file").touch()
    asked = [*map(str, directories), f"{tmp_path}/missing", f"{tmp_path}/file", "/proc"]
    for _ in range(2):  # may be repeated
        assert tools.make_markers(asked, "-marker 'x'") == tuple(map(str, directories))
    assert all((directory / "-marker 'x'").read_bytes() == b"" for directory in directories)
    for _ in range(2):
        tools.remove_markers([str(d) for d in directories], "-marker 'x'")
    assert [list(directory.iterdir()) for directory in directories] == [[]] * len(directories)


def test_a_marker_that_cannot_be_removed_is_told_and_hinders_no_other(tools: SshTools, tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    (tmp_path / "a" / "marker" / "full").mkdir(parents=True)
    (tmp_path / "b" / "marker").touch()
    with pytest.raises(PermanentError, match="marker was not removed"):
        tools.remove_markers([f"{tmp_path}/a", f"{tmp_path}/gone", f"{tmp_path}/b"], "marker")
    assert not (tmp_path / "b" / "marker").exists()


# lists


def test_the_files_below_directories_are_listed_whatever_their_names(tools: SshTools, tmp_path: Path) -> None:
    inner = tmp_path / "in $(there)\n"
    inner.mkdir()
    for number, name in enumerate(ODD):
        (inner / name).write_bytes(b"x" * number)
    (inner / "link").symlink_to("two words")
    (inner / ".vmferry-marker-1").touch()
    os.mkfifo(inner / "fifo")
    os.utime(inner / ODD[0], (0, 1_700_000_000))
    found = tools.list_files([str(tmp_path), f"{tmp_path}/missing", str(inner)])
    assert [file.path for file in found] == sorted(str(inner / name) for name in ODD)
    by_path = {file.path: file for file in found}
    for number, name in enumerate(ODD):
        real = (inner / name).stat()
        file = by_path[str(inner / name)]
        assert (file.size_bytes, file.allocated_bytes) == (number, real.st_blocks * 512)
    assert by_path[str(inner / ODD[0])].modified_at_s == 1_700_000_000


def test_a_storage_directory_may_be_a_symbolic_link(tools: SshTools, tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "image").touch()
    (tmp_path / "link").symlink_to("real")
    assert [file.path for file in tools.list_files([f"{tmp_path}/link"])] == [f"{tmp_path}/link/image"]


def test_another_file_system_below_is_not_listed(tools: SshTools) -> None:
    listed = tools.list_files(["/dev"])
    assert not [file for file in listed if file.path.startswith(("/dev/shm/", "/dev/pts/"))]


def test_nothing_asked_is_nothing_done(tools: SshTools) -> None:
    assert (tools.list_files([]), tools.make_markers([], "x")) == ((), ())
    tools.remove_markers([], "x")


def test_fractions_of_a_second_are_cut_off() -> None:
    assert parse_list("5 8 1700000000.9999999990 /a b\0")[0].modified_at_s == 1_700_000_000


# backing files


def test_images_tell_their_backing_files_whatever_the_names(tools: SshTools, tmp_path: Path) -> None:
    """Images made by qemu-img 7.2.22 (Debian 12)."""
    base = tmp_path / "it's a $(base)\n"
    overlay, below, raw = tmp_path / "-overlay\n", tmp_path / "two words", tmp_path / "raw"
    make = ["qemu-img", "create", "-q", "-f", "qcow2"]
    subprocess.run([*make, str(base), "8M"], check=True)
    subprocess.run([*make, "-b", str(base), "-F", "qcow2", str(overlay)], check=True)
    subprocess.run([*make, "-u", "-b", "below.raw", "-F", "raw", str(below), "8M"], check=True)
    raw.write_bytes(b"\0" * 4096)
    for name, content in (("empty", b""), ("short", b"Q"), ("odd", b"\xff\xfe")):
        (tmp_path / name).write_bytes(content)
    os.mkfifo(tmp_path / "fifo")
    asked = [base, overlay, below, raw, *(tmp_path / n for n in ("empty", "short", "odd", "fifo", "missing"))]
    assert tools.backing_files([str(p) for p in asked]) == {str(overlay): str(base), str(below): "below.raw"}
    assert tools.backing_files([]) == {}


def test_a_header_that_is_cut_off_is_told(tools: SshTools, tmp_path: Path) -> None:
    """What an image builds on must be known before anything is removed: no answer is no answer."""
    (tmp_path / "cut").write_bytes(b"QFI\xfb")
    with pytest.raises(PermanentError, match="cut: no header"):
        tools.backing_files([str(tmp_path / "cut")])


# many


def test_more_paths_than_one_command_takes_are_asked_in_several(tools: SshTools, tmp_path: Path) -> None:
    """Linux allows 128 KiB for the one argument in which sshd hands over a command."""
    image = tmp_path / "image"
    image.touch()
    paths = [f"{tmp_path}/{'it is missing ' * 12}{n}" for n in range(1500)]
    assert sum(map(len, paths)) > 256 * 1024
    assert [*tools.stat_files([*paths, str(image)])] == [str(image)]


def test_parts_keep_the_order_and_lose_nothing() -> None:
    paths = [f"/srv/{'x' * (n % 700)}'{n}" for n in range(2000)]
    parts = list(batches(paths))
    assert [path for part in parts for path in part] == paths
    assert len(parts) > 5
    assert list(batches(["/" + "x" * 200_000])) == [["/" + "x" * 200_000]]
    assert list(batches([])) == []
