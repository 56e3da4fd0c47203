"""What a host says of its system: each parser on captured output, and the whole on a host where things are missing."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from vmferry.adapters.ssh_mounts import parse_mounts
from vmferry.adapters.ssh_shell import Completed
from vmferry.adapters.ssh_system import (
    SYSTEM,
    parse_clock,
    parse_migration_ports,
    parse_os_release,
    parse_services,
    parse_sshd,
    parse_system,
)
from vmferry.model.facts import Mount, OsRelease, Service, SshdLimits, SystemFacts

# Debian 12: `cat /etc/os-release`.
DEBIAN = """PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"
NAME="Debian GNU/Linux"
VERSION_ID="12"
VERSION="12 (bookworm)"
VERSION_CODENAME=bookworm
ID=debian
HOME_URL="https://www.debian.org/"
"""
# By hand, as RHEL 8.1 and RHEL 7.6 have it; and what os-release(5) allows besides.
RHEL8 = """NAME="Red Hat Enterprise Linux"
VERSION="8.1 (Ootpa)"
ID="rhel"
ID_LIKE="fedora"
VERSION_ID="8.1"
PRETTY_NAME="Red Hat Enterprise Linux 8.1 (Ootpa)"
"""
ODD = """# comment
ID='od"d'
 VERSION_ID=1\\$2
NAME=Only
PRETTY_NAME="it is \\"quoted\\""
LOGO="never closed
"""
# By hand, in the form of systemd 239 (RHEL 8): `systemctl show -p Id -p LoadState -p ActiveState -p UnitFileState …`.
MONOLITHIC = """Id=libvirtd.service
LoadState=loaded
ActiveState=inactive
UnitFileState=enabled

Id=libvirtd.socket
LoadState=loaded
ActiveState=active
UnitFileState=enabled

Id=virtqemud.service
LoadState=not-found
ActiveState=inactive
UnitFileState=

Id=virtqemud.socket
LoadState=not-found
ActiveState=inactive
UnitFileState=
"""
MODULAR = (
    MONOLITHIC.replace("libvirtd", "x").replace("loaded", "not-found").replace("virtqemud", "y")
    + "\nId=virtqemud.service\nLoadState=loaded\nActiveState=active\nUnitFileState=disabled\n"
    + "\nId=virtqemud.socket\nLoadState=masked\nActiveState=inactive\nUnitFileState=masked\n"
)
# Debian 12, util-linux 2.38: `findmnt --json --list --output TARGET,SOURCE,FSTYPE,OPTIONS,UUID`, some lines left out.
FINDMNT = """{
   "filesystems": [
      {"target": "/proc", "source": "proc", "fstype": "proc", "options": "rw,relatime", "uuid": null},
      {"target": "/dev", "source": "devtmpfs", "fstype": "devtmpfs", "options": "rw,mode=755", "uuid": null},
      {"target": "/dev/shm", "source": "tmpfs", "fstype": "tmpfs", "options": "rw", "uuid": null},
      {
         "target": "/",
         "source": "/dev/vda",
         "fstype": "ext4",
         "options": "rw,relatime,discard",
         "uuid": "1f2a"
      }
   ]
}
"""
# By hand, in the form of proc(5): NFS, a bind mount of a part, a blank in a path, one mount on top of another.
MOUNTINFO = """22 1 253:0 / / rw,relatime shared:1 - ext4 /dev/vda rw,discard
23 22 0:21 / /proc rw,nosuid shared:2 - proc proc rw
24 22 0:5 / /dev rw,nosuid - devtmpfs devtmpfs rw,mode=755
30 22 0:52 / /var/lib/libvirt/images rw,relatime shared:90 - nfs4 cargo-bay:/export rw,vers=4.2,local_lock=none
31 22 253:0 /srv/iso /mnt/two\\040words rw,relatime shared:1 - ext4 /dev/vda rw,discard
32 22 0:60 / /srv rw - tmpfs below rw
33 32 0:61 / /srv rw - tmpfs above rw
a line that is none
"""


@pytest.mark.parametrize(
    ("text", "release"),
    [
        (DEBIAN, OsRelease(id="debian", version_id="12", name="Debian GNU/Linux 12 (bookworm)")),
        (RHEL8, OsRelease(id="rhel", version_id="8.1", name="Red Hat Enterprise Linux 8.1 (Ootpa)")),
        (ODD, OsRelease(id='od"d', version_id="1$2", name='it is "quoted"')),
        ("ID=arch\nNAME='Arch Linux'\n", OsRelease(id="arch", name="Arch Linux")),
        ("", OsRelease()),
    ],
)
def test_the_release_is_read_as_a_shell_would(text: str, release: OsRelease) -> None:
    assert parse_os_release(text) == release


def test_the_units_that_exist_are_told_monolithic_or_modular() -> None:
    assert parse_services(MONOLITHIC) == (
        Service(name="libvirtd.service", is_active=False, is_enabled=True),
        Service(name="libvirtd.socket", is_active=True, is_enabled=True),
    )
    assert parse_services(MODULAR) == (
        Service(name="virtqemud.service", is_active=True, is_enabled=False),
        Service(name="virtqemud.socket", is_active=False, is_enabled=False),
    )


def test_a_unit_without_a_file_state_is_neither_enabled_nor_disabled() -> None:
    unit = "Id=libvirtd.service\nLoadState=loaded\nActiveState=active\nUnitFileState=\n"
    assert parse_services(unit) == (Service(name="libvirtd.service", is_active=True, is_enabled=None),)


@pytest.mark.parametrize("state", ["static", "indirect", "enabled-runtime", "linked", "disabled"])
def test_what_does_not_start_with_the_system_is_not_enabled(state: str) -> None:
    unit = f"Id=libvirtd.service\nLoadState=loaded\nActiveState=active\nUnitFileState={state}\n"
    assert parse_services(unit)[0].is_enabled is False


def test_without_systemd_no_unit_is_known() -> None:
    """Debian 12 in a container: systemctl prints nothing but an error."""
    assert parse_services("") == ()


def test_sshd_tells_its_limits_and_old_spelling_is_read_too() -> None:
    assert parse_sshd("maxstartups 10:30:100") == SshdLimits(start=10, rate=30, full=100)
    assert parse_sshd("MaxStartups 100:30:200\n") == SshdLimits(start=100, rate=30, full=200)
    assert parse_sshd("") is None


@pytest.mark.parametrize(
    ("text", "ports"),
    [
        ("", (49152, 49215)),
        ("migration_port_min = 50000\nmigration_port_max = 50009\n", (50000, 50009)),
        ("  migration_port_max=50000\n", (49152, 50000)),
        ("#migration_port_min = 1\nmigration_port_min = 49200\nmigration_port_min = 2\n", (49200, 49215)),
    ],
)
def test_migration_ports_are_those_of_the_first_line_that_is_no_comment(text: str, ports: tuple[int, int]) -> None:
    assert parse_migration_ports(text) == ports


@pytest.mark.parametrize(
    ("text", "may_all", "has_device"),
    [("0\n", False, False), ("1\ndevice\n", True, True), ("device\n", None, True), ("", None, False)],
)
def test_who_may_use_userfaultfd_is_told(text: str, may_all: bool | None, has_device: bool) -> None:
    done = Completed(stdout=f"userfaultfd\0{text}\0", stderr="", exit_code=0)
    system = parse_system(done)
    assert (system.may_all_use_userfaultfd, system.has_userfaultfd_device) == (may_all, has_device)


def test_commented_ports_do_not_leave_the_host(tmp_path: Path) -> None:
    """The script's own filter, on lines as qemu.conf of libvirt 9.0 has them."""
    conf = tmp_path / "qemu.conf"
    conf.write_text(
        "#migration_port_min = 1\n # migration_port_max = 2\n\tmigration_port_max = 50000\nmigration_host = x\n"
    )
    (line,) = (line for line in SYSTEM.text.splitlines() if line.startswith("say ports "))
    script = 'say() { printf %s "$2"; }\n' + line.replace("/etc/libvirt/qemu.conf", str(conf))
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "\tmigration_port_max = 50000"


def test_mounts_are_told_without_the_kernels_own() -> None:
    assert parse_mounts(FINDMNT) == (
        Mount(path="/", source="/dev/vda", fstype="ext4", options=("rw", "relatime", "discard"), uuid="1f2a"),
    )


def test_a_tree_of_mounts_is_flattened() -> None:
    tree = '{"filesystems": [{"target": "/", "source": "a", "children": [{"target": "/srv", "source": "b:/x"}]}]}'
    assert [(mount.path, mount.source) for mount in parse_mounts(tree)] == [("/", "a"), ("/srv", "b:/x")]


def test_without_findmnt_the_kernels_list_is_read() -> None:
    mounts = {mount.path: mount for mount in parse_mounts(MOUNTINFO)}
    assert [*mounts] == ["/", "/var/lib/libvirt/images", "/mnt/two words", "/srv"]
    images = mounts["/var/lib/libvirt/images"]
    assert (images.source, images.is_nfs) == ("cargo-bay:/export", True)
    assert images.options == ("rw", "relatime", "vers=4.2", "local_lock=none")
    assert mounts["/mnt/two words"].source == "/dev/vda[/srv/iso]"


def test_of_two_mounts_on_one_path_the_upper_one_counts() -> None:
    facts = SystemFacts(mounts=parse_mounts(MOUNTINFO))
    mount = facts.mount_of("/srv/image.raw")
    assert mount is not None
    assert mount.source == "above"


# the clock


def clock(began: float, ended: float, host_began: float, host_ended: float) -> tuple[float, float]:
    done = Completed(exit_code=0, stdout="", stderr="", began_s=began, ended_s=ended)
    reading = parse_clock({"began": f"{host_began:.6f}", "ended": f"{host_ended:.6f}"}, done)
    assert reading is not None
    return reading.offset_ms, reading.error_ms


def test_the_time_that_the_script_takes_does_not_blur_the_clock() -> None:
    """The host is 5 s ahead; 10 ms there, 400 ms of script, 20 ms back."""
    offset, error = clock(1000.0, 1000.43, 1005.01, 1005.41)
    assert offset == pytest.approx(4995.0)
    assert error == pytest.approx(15.0)
    assert offset - error <= 5000 <= offset + error


def test_a_clock_that_is_right_lies_within_its_error() -> None:
    offset, error = clock(1000.0, 1000.5, 1000.1, 1000.49)
    assert abs(offset) <= error


def test_an_unread_clock_is_unknown() -> None:
    assert parse_clock({}, Completed(exit_code=0, stdout="", stderr="")) is None


# the whole


def records(**said: str) -> Completed:
    text = "".join(f"{name.replace('_', '-')}\0{value}\0" for name, value in said.items())
    return Completed(exit_code=0, stdout=text, stderr="", began_s=1.0, ended_s=2.0)


def test_what_is_missing_or_makes_no_sense_is_unknown_and_spoils_nothing_else() -> None:
    assert parse_system(records()) == SystemFacts()
    facts = parse_system(records(os=DEBIAN, links="[{", mounts='{"filesystems": [{}]}', began="soon", ended="late"))
    assert facts == SystemFacts(os=parse_os_release(DEBIAN))
    assert parse_system(records(os=DEBIAN, links='[{"ifname": "x"}]', sshd="maxstartups 1:2:3")).sshd is not None


def run_here(path: str) -> Completed:
    """Run the script on this machine with nothing but bash and the tools of a directory."""
    argv = ["/bin/bash", "-c", SYSTEM.text, "x"]
    done = subprocess.run(argv, capture_output=True, text=True, env={"PATH": path, "LC_ALL": "C.UTF-8"}, timeout=30)
    return Completed(exit_code=done.returncode, stdout=done.stdout, stderr=done.stderr, began_s=1.0, ended_s=2.0)


def test_a_host_without_ip_findmnt_systemctl_and_sshd_is_read_all_the_same(tmp_path: Path) -> None:
    for name in ("date", "sleep", "cat", "grep", "timeout"):
        (tmp_path / name).symlink_to(Path("/usr/bin") / name)
    text = SYSTEM.text.replace("PATH=$PATH:/usr/sbin:/sbin", "")
    argv = ["/bin/bash", "-c", text, "x"]
    done = subprocess.run(argv, capture_output=True, text=True, env={"PATH": str(tmp_path)}, timeout=30)
    facts = parse_system(Completed(exit_code=done.returncode, stdout=done.stdout, stderr="", began_s=1.0, ended_s=2.0))
    assert done.returncode == 0
    assert facts.os.is_known
    assert facts.mount_of("/") is not None
    assert (facts.links, facts.services, facts.sshd) == ((), (), None)
    assert facts.clock is not None


def test_the_script_reads_this_machine() -> None:
    facts = parse_system(run_here("/usr/bin:/bin"))
    loopback = facts.link("lo")
    assert loopback is not None
    assert "127.0.0.1/8" in loopback.addresses
    assert loopback.used_mbit_s is not None
    assert facts.os == parse_os_release(Path("/etc/os-release").read_text())
