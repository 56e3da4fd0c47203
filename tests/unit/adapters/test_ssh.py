"""ssh against a real sshd on loopback: nothing trusted that is not known, arguments are data, files are safe."""

from __future__ import annotations

import hashlib
import os
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.unit.adapters.sshd import USER, Sshd, free_port, make_key, write_client_config, write_ssh_command
from vmferry.adapters.ssh_shell import Script, SshShell
from vmferry.adapters.ssh_tools import SshTools
from vmferry.adapters.virsh import parse_virsh_list
from vmferry.errors import CopyFailed, HostUnreachable, OutcomeUnknown, PermanentError
from vmferry.model.host import Host
from vmferry.settings import Settings

HOSTILE = (
    "plain",
    "",
    "two words",
    "'",
    '"',
    'it\'s "quoted"',
    "new\nline",
    "; touch PWNED",
    "$(touch PWNED)",
    "`touch PWNED`",
    "${HOME} $HOME",
    "&& false",
    "| cat",
    "> PWNED",
    "*",
    "~",
    "!!",
    "-n",
    "--",
    "--help",
    "\\",
    "a\\nb",
    "\t",
    "größe €",
    "#",
    "{a,b}",
    "%s%n",
)
NAMES = (
    "two words.qcow2",
    "new\nline.qcow2",
    "-rf",
    "--help",
    "it's $(odd); `x`.raw",
    "größe.raw",
    "back\\slash",
    "@x",
)


@dataclass
class Pair:
    """Two hosts on this machine; the first may reach the second by ssh."""

    source: Host
    dest: Host
    config: Path
    root: Path

    def tools(self, host: Host | None = None) -> SshTools:
        return SshTools(
            host or self.source, Settings(connect_timeout_s=5, call_timeout_s=20), ssh_config=str(self.config)
        )


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    root = tmp_path_factory.mktemp("ssh")
    key = make_key(root / "id")
    config = write_client_config(root / "config", key, root / "known_hosts")
    path = write_ssh_command(root / "bin", config)
    hosts = [Sshd(root / name, key, path=path).start() for name in ("one", "two")]
    (root / "known_hosts").write_text("".join(sshd.known_as() for sshd in hosts))
    try:
        yield Pair(hosts[0].entry("one"), hosts[1].entry("two"), config, root)
    finally:
        for sshd in hosts:
            sshd.stop()


@pytest.fixture
def shell(pair: Pair) -> Iterator[SshShell]:
    opened = SshShell(pair.source, ssh_config=str(pair.config), connect_timeout_s=5)
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def tools(pair: Pair) -> Iterator[SshTools]:
    opened = pair.tools()
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def there(pair: Pair) -> Iterator[SshTools]:
    opened = pair.tools(pair.dest)
    yield opened
    opened.close()


# arguments


def test_arguments_arrive_as_they_are_whatever_stands_in_them(shell: SshShell) -> None:
    done = shell.run(["printf", r"%s\0", *HOSTILE], timeout_s=10)
    assert tuple(done.stdout.split("\0")[:-1]) == HOSTILE
    assert shell.run(["sh", "-c", "test ! -e PWNED"], timeout_s=10).is_ok


def test_each_kind_of_end_of_a_command_is_told(shell: SshShell) -> None:
    failed = shell.run(["sh", "-c", "echo out; echo  two   words >&2; exit 7"], timeout_s=10)
    assert (failed.exit_code, failed.stdout, failed.complaint, failed.is_ok) == (7, "out\n", "two words", False)
    assert shell.run(["false"], timeout_s=10).complaint == "exit code 1"
    assert shell.run(["no-such-command"], timeout_s=10).exit_code == 127


def test_a_command_reads_no_input(shell: SshShell) -> None:
    assert shell.run(["cat"], timeout_s=2).stdout == ""


def test_the_tools_speak_english_on_every_host(shell: SshShell) -> None:
    assert "No such file" in shell.run(["stat", "/nonexistent"], timeout_s=10).stderr


def test_a_name_that_is_not_ascii_is_read_from_virsh_as_it_is(shell: SshShell, tmp_path: Path) -> None:
    """In the plain C locale virsh 9.0 prints `gr\\xff\\xff\\xff\\xffe`: such a VM would never be verified."""
    fleet = tmp_path / "fleet.xml"
    names = ("größe", "猫", "web 1")
    domains = (
        f"<domain type='test'><name>{n}</name><memory>1024</memory><os><type>hvm</type></os></domain>" for n in names
    )
    fleet.write_text(f"<node>{''.join(domains)}</node>")
    done = shell.run(["virsh", "--connect", f"test://{fleet}", "list", "--all"], timeout_s=10)
    assert [line.name for line in parse_virsh_list(done.stdout)] == list(names)


def test_the_connection_is_kept_and_opened_again_when_it_was_closed(shell: SshShell) -> None:
    def session() -> str:
        return shell.run(["sh", "-c", "echo $SSH_CONNECTION"], timeout_s=10).stdout

    first = session()
    assert session() == first
    shell.close()
    assert session() != first


# time


def test_a_command_that_does_not_end_is_given_up_a_read_may_be_repeated_a_write_is_unknown(shell: SshShell) -> None:
    began = time.monotonic()
    with pytest.raises(HostUnreachable, match="no end within"):
        shell.run(["sleep", "30"], timeout_s=0.2)
    with pytest.raises(OutcomeUnknown, match="no end within"):
        shell.run(["sleep", "30"], timeout_s=0.2, is_write=True)
    assert time.monotonic() - began < 10
    assert shell.run(["true"], timeout_s=10).is_ok


# the system


def test_the_system_is_read_in_one_command_and_its_clock_is_ours(tools: SshTools) -> None:
    facts = tools.read_system()
    assert facts.clock is not None
    assert abs(facts.clock.offset_ms) <= facts.clock.error_ms < 5000
    assert facts.os.is_known
    loopback, root = facts.link("lo"), facts.mount_of("/")
    assert loopback is not None and loopback.mtu > 0
    assert root is not None and root.fstype
    assert facts.migration_ports[0] <= facts.migration_ports[1]


# host keys


@pytest.fixture
def stranger(pair: Pair, tmp_path: Path) -> Iterator[tuple[Sshd, Path]]:
    """Return an sshd that nobody knows, and the file that would make it known."""
    sshd = Sshd(tmp_path / "stranger", pair.root / "id").start()
    try:
        yield sshd, tmp_path / "known_hosts"
    finally:
        sshd.stop()


def shell_to(sshd: Sshd, pair: Pair, known_hosts: Path, **ssh: object) -> SshShell:
    config = write_client_config(known_hosts.parent / "config", pair.root / "id", known_hosts)
    return SshShell(sshd.entry("stranger", **ssh), ssh_config=str(config), connect_timeout_s=5)


def test_an_unknown_host_key_is_refused_and_not_learnt(stranger: tuple[Sshd, Path], pair: Pair) -> None:
    sshd, known_hosts = stranger
    for content in (None, ""):
        if content is not None:
            known_hosts.write_text(content)
        with pytest.raises(HostUnreachable, match=r"host key must be known"):
            shell_to(sshd, pair, known_hosts).run(["true"], timeout_s=5)
    assert known_hosts.read_text() == ""


def test_a_changed_host_key_is_refused(stranger: tuple[Sshd, Path], pair: Pair) -> None:
    sshd, known_hosts = stranger
    other = make_key(known_hosts.parent / "other")
    known_hosts.write_text(sshd.known_as(" ".join(Path(f"{other}.pub").read_text().split()[:2])))
    with pytest.raises(HostUnreachable, match="stranger"):
        shell_to(sshd, pair, known_hosts).run(["true"], timeout_s=5)


def test_a_host_key_known_under_its_alias_is_accepted_and_no_other(stranger: tuple[Sshd, Path], pair: Pair) -> None:
    sshd, known_hosts = stranger
    shell = shell_to(sshd, pair, known_hosts)
    config = known_hosts.parent / "config"
    config.write_text(f"Host *\n  HostKeyAlias kvm-alias\n{config.read_text()}")
    other = " ".join(Path(f"{make_key(known_hosts.parent / 'other')}.pub").read_text().split()[:2])
    for line in (f"kvm-alias {other}\n", f"kvm-other {sshd.host_key}\n"):
        known_hosts.write_text(line)
        with pytest.raises(HostUnreachable, match="host key must be known"):
            shell.run(["true"], timeout_s=5)
    known_hosts.write_text(f"kvm-alias {sshd.host_key}\n")
    assert shell.run(["true"], timeout_s=5).is_ok
    shell.close()


def test_a_known_host_key_is_accepted_hashed_names_too(stranger: tuple[Sshd, Path], pair: Pair) -> None:
    sshd, known_hosts = stranger
    known_hosts.write_text(sshd.known_as())
    assert shell_to(sshd, pair, known_hosts).run(["true"], timeout_s=5).is_ok
    subprocess.run(["ssh-keygen", "-q", "-H", "-f", str(known_hosts)], check=True, capture_output=True)
    assert "127.0.0.1" not in known_hosts.read_text()
    assert shell_to(sshd, pair, known_hosts).run(["true"], timeout_s=5).is_ok


def test_a_key_that_may_not_log_in_is_an_unreachable_host(stranger: tuple[Sshd, Path], pair: Pair) -> None:
    sshd, known_hosts = stranger
    known_hosts.write_text(sshd.known_as())
    with pytest.raises(HostUnreachable, match=f"try `ssh {USER}x@127"):
        shell_to(sshd, pair, known_hosts, user=f"{USER}x").run(["true"], timeout_s=5)


def test_a_port_where_nobody_listens_is_an_unreachable_host(pair: Pair, tmp_path: Path) -> None:
    sshd = Sshd(tmp_path / "nobody", pair.root / "id", port=free_port())
    with pytest.raises(HostUnreachable, match="stranger"):
        shell_to(sshd, pair, tmp_path / "known_hosts").run(["true"], timeout_s=5)


def test_a_script_is_called_by_its_name_when_it_does_not_end(shell: SshShell) -> None:
    with pytest.raises(HostUnreachable, match="`look`: no end within"):
        shell.run_script(Script("look", "sleep 30"), [], timeout_s=0.2)
    with pytest.raises(OutcomeUnknown, match="`mark`: no end within"):
        shell.run_script(Script("mark", "sleep 30", is_write=True), [], timeout_s=0.2)


def test_it_is_told_when_a_command_began_and_ended(shell: SshShell) -> None:
    shell.run(["true"], timeout_s=10)
    before = time.time()
    done = shell.run(["sleep", "0.3"], timeout_s=10)
    assert before <= done.began_s <= done.ended_s - 0.3 <= time.time() - 0.3


# files


def test_files_are_found_measured_and_removed_whatever_their_names(tools: SshTools, tmp_path: Path) -> None:
    files = [tmp_path / name for name in NAMES]
    for size, file in enumerate(files, 5000):
        file.write_bytes(b"x" * size)
    missing = [f"{tmp_path}/missing {name}" for name in NAMES]
    found = tools.stat_files([*missing, *map(str, files)])
    assert list(found) == [str(file) for file in files]
    for file in files:
        facts, real = found[str(file)], file.stat()
        assert (facts.path, facts.size_bytes, facts.inode) == (str(file), real.st_size, real.st_ino)
        assert (facts.allocated_bytes, facts.is_block) == (real.st_blocks * 512, False)
        assert tools.checksum(str(file)) == hashlib.blake2b(file.read_bytes()).hexdigest()
        tools.remove_file(str(file))
    tools.remove_file(str(files[0]))  # again
    assert list(tmp_path.iterdir()) == []


def test_nothing_asked_is_nothing_answered(tools: SshTools) -> None:
    assert tools.stat_files([]) == {}
    assert tools.free_bytes([]) == {}


def test_a_symbolic_link_is_its_target_and_a_dangling_one_does_not_exist(tools: SshTools, tmp_path: Path) -> None:
    (tmp_path / "image").write_bytes(b"12345")
    (tmp_path / "link").symlink_to("image")
    (tmp_path / "dangling").symlink_to("nowhere")
    found = tools.stat_files([f"{tmp_path}/link", f"{tmp_path}/dangling"])
    assert {path: facts.size_bytes for path, facts in found.items()} == {f"{tmp_path}/link": 5}


def test_a_path_that_cannot_be_looked_at_is_not_called_missing(tools: SshTools, tmp_path: Path) -> None:
    """Undo takes a missing file for a removed one; a loop of links, a stale mount or a closed directory is neither."""
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(PermanentError, match="symbolic links"):
        tools.stat_files([f"{tmp_path}/loop"])


def test_free_space_is_told_of_existing_directories_only(tools: SshTools, tmp_path: Path) -> None:
    odd = tmp_path / "two\nlines $(x)"
    odd.mkdir()
    free = tools.free_bytes([str(odd), f"{tmp_path}/missing"])
    real = os.statvfs(odd)
    assert list(free) == [str(odd)]
    assert free[str(odd)] == pytest.approx(real.f_bavail * real.f_frsize, abs=1 << 30)


def test_a_missing_file_has_no_digest(tools: SshTools, tmp_path: Path) -> None:
    with pytest.raises(PermanentError, match="No such file"):
        tools.checksum(f"{tmp_path}/missing")


@pytest.mark.parametrize("name", NAMES[1:3])
def test_a_file_is_set_aside_once_and_never_over_another(tools: SshTools, tmp_path: Path, name: str) -> None:
    image, aside = tmp_path / name, tmp_path / f"{name}.vmferry-moved-1"
    image.write_text("image")
    for _ in range(2):
        tools.set_aside(str(image), str(aside))
    assert (image.exists(), aside.read_text()) == (False, "image")
    image.write_text("a new one")
    with pytest.raises(PermanentError, match="File exists"):
        tools.set_aside(str(image), str(aside))
    assert (image.read_text(), aside.read_text()) == ("a new one", "image")
    tools.remove_file(str(image))
    tools.set_aside(str(aside), str(image))  # undo
    assert (image.read_text(), aside.exists()) == ("image", False)


def test_a_missing_file_is_not_set_aside(tools: SshTools, tmp_path: Path) -> None:
    with pytest.raises(PermanentError):
        tools.set_aside(f"{tmp_path}/a", f"{tmp_path}/b")


def test_an_interrupted_set_aside_is_completed(tools: SshTools, tmp_path: Path) -> None:
    """The link was made, the old name not yet removed: both names, one file."""
    image, aside = tmp_path / "image", tmp_path / "aside"
    image.write_text("image")
    aside.hardlink_to(image)
    tools.set_aside(str(image), str(aside))
    assert (image.exists(), aside.read_text()) == (False, "image")


def staged(directory: Path, name: str, content: str = "copy") -> Path:
    staging = directory / ".vmferry-run-1"
    staging.mkdir(exist_ok=True)
    (staging / name).write_text(content)
    return staging / name


@pytest.mark.parametrize("name", NAMES[1:3])
def test_a_staged_file_gets_its_name_keeps_its_inode_and_leaves_no_directory(
    tools: SshTools, tmp_path: Path, name: str
) -> None:
    staging = staged(tmp_path, name)
    inode = staging.stat().st_ino
    tools.publish(str(staging), str(tmp_path / name))
    assert (tmp_path / name).stat().st_ino == inode
    assert not staging.parent.exists()


def test_a_staging_directory_with_another_copy_in_it_stays(tools: SshTools, tmp_path: Path) -> None:
    one, two = staged(tmp_path, "one"), staged(tmp_path, "two")
    tools.publish(str(one), str(tmp_path / "one"))
    assert two.exists()
    tools.remove_file(str(two))
    assert not two.parent.exists()


@pytest.mark.parametrize("kind", ["file", "directory", "dangling link"])
def test_nothing_that_exists_is_ever_published_over(tools: SshTools, tmp_path: Path, kind: str) -> None:
    target = tmp_path / "image"
    match kind:
        case "file":
            target.write_text("precious")
        case "directory":
            target.mkdir()
        case _:
            target.symlink_to("nowhere")
    staging = staged(tmp_path, "image")
    with pytest.raises(CopyFailed, match="exists"):
        tools.publish(str(staging), str(target))
    assert staging.read_text() == "copy"
    assert not target.is_file() or target.read_text() == "precious"
    assert not target.is_dir() or list(target.iterdir()) == []


def test_removing_a_file_removes_no_directory_but_an_empty_staging_one(tools: SshTools, tmp_path: Path) -> None:
    plain = tmp_path / "images"
    plain.mkdir()
    (plain / "x").touch()
    tools.remove_file(str(plain / "x"))
    assert plain.is_dir()
    empty = tmp_path / ".vmferry-run-1"
    empty.mkdir()
    tools.remove_file(str(empty / "never came"))
    assert not empty.exists()
    tools.remove_file(f"{tmp_path}/.vmferry-gone/x")


def test_a_directory_is_not_removed_as_a_file(tools: SshTools, tmp_path: Path) -> None:
    with pytest.raises(PermanentError):
        tools.remove_file(str(tmp_path))
