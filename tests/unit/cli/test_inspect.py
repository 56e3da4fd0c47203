"""`vmferry inspect`: one line per file whatever is in it, and an exit code that a pipeline can use."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from tests.unit.domxml.samples import domain
from vmferry.cli import app
from vmferry.domxml.parse import MAX_BYTES

RUNNER = CliRunner()
DISK = "<disk type='file'><source file='/images/a.qcow2'/><target dev='vda'/></disk>"
USB = "<hostdev type='usb'><source><address bus='1' device='2'/></source></hostdev>"
PINNED = "<vcpu cpuset='1'>1</vcpu>"


@pytest.fixture
def files(tmp_path: Path) -> Path:
    (tmp_path / "plain.xml").write_text(domain(DISK))
    (tmp_path / "tied.xml").write_text(domain(USB))
    (tmp_path / "xen.xml").write_text(domain(head="type='xen'"))
    (tmp_path / "net.xml").write_text("<network><name>lan</name></network>")
    return tmp_path


def call(*args: object, stdin: bytes | None = None) -> tuple[int, str, str]:
    result = RUNNER.invoke(app, ["inspect", *(str(arg) for arg in args)], input=stdin)
    assert "Traceback" not in result.output
    return result.exit_code, result.stdout, result.stderr


def lines(*args: object) -> list[dict[str, Any]]:
    return [json.loads(line) for line in call("--json", *args)[1].splitlines()]


def test_json_is_one_line_per_file_in_the_order_given(files: Path) -> None:
    names = [files / "tied.xml", files / "net.xml", files / "plain.xml"]
    found = lines(*names)
    assert [line["file"] for line in found] == [str(name) for name in names]
    assert [line.get("name") for line in found] == ["vm1", None, "vm1"]


def test_a_line_holds_what_a_script_asks_for(files: Path) -> None:
    (line,) = lines(files / "tied.xml")
    assert set(line) == {"file", "name", "uuid", "modes", "findings", "assumes"}
    assert {mode: answer["may_move"] for mode, answer in line["modes"].items()} == {
        "live": False,
        "non-live": False,
        "offline": True,
    }
    assert line["modes"]["live"]["blocked_by"] == ["passthrough"]
    first = line["findings"][0]
    assert (first["rule"], first["severity"], first["modes"]) == ("passthrough", "block", ["live", "non-live"])
    assert first["message"] and first["source"]


def test_json_may_be_asked_for_before_the_command(files: Path) -> None:
    result = RUNNER.invoke(app, ["--json", "inspect", str(files / "plain.xml")])
    assert json.loads(result.stdout)["name"] == "vm1"


def test_text_names_file_vm_and_modes_and_says_a_finding_once(files: Path) -> None:
    code, out, err = call(files / "tied.xml")
    first, second, *_ = out.splitlines()
    assert first == f"{files}/tied.xml: vm1: may move offline"
    assert second.startswith("  block live, non-live; warn offline: passthrough: vm vm1 has a device of its host")
    assert out.count("passthrough:") == 1
    assert (code, err) == (0, "")


def test_several_files_end_with_a_count(files: Path) -> None:
    _, _, err = call(files / "plain.xml", files / "xen.xml", files / "net.xml")
    assert err.splitlines()[-1] == "3 files: 1 may move in any mode, 1 may not, 1 could not be judged"


# exit codes


@pytest.mark.parametrize(
    ("names", "options", "code"),
    [
        (("plain",), (), 0),
        (("plain", "tied"), (), 0),
        (("plain", "tied"), ("--mode", "live"), 4),
        (("plain", "tied"), ("--mode", "offline"), 0),
        (("plain", "xen"), (), 4),
        (("plain", "net"), (), 3),
        (("xen", "net"), (), 3),
        (("plain", "nowhere"), (), 3),
    ],
)
def test_the_exit_code_tells_the_worst(
    files: Path, names: tuple[str, ...], options: tuple[str, ...], code: int
) -> None:
    assert call(*options, *(files / f"{name}.xml" for name in names))[0] == code


@pytest.mark.parametrize("args", [(), ("--profile", "rhel9", "a"), ("--mode", "cold", "a")])
def test_wrong_usage_ends_with_2(args: tuple[str, ...]) -> None:
    assert call(*args)[0] == 2


# what is no domain


def _make(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


NO_DOMAINS = {
    "empty": (b"", "is empty"),
    "blank": (b" \n\t", "is empty"),
    "text": (b"hello", "not well-formed"),
    "binary": (bytes(range(256)) * 64, "not well-formed"),
    "nul": (b"\0" * 1000, "not well-formed"),
    "truncated": (domain(DISK)[:-20].encode(), "not well-formed"),
    "broken": (domain(DISK).replace("</disk>", "</dusk>").encode(), "tag mismatch"),
    "network": (b"<network><name>a</name></network>", "the root is <network>"),
    "snapshot": (f"<domainsnapshot>{domain(DISK)}</domainsnapshot>".encode(), "a snapshot"),
    "status": (f"<domstatus state='running'>{domain(DISK)}</domstatus>".encode(), "virsh dumpxml"),
    "several": (f"<domains>{domain(DISK)}</domains>".encode(), "several domains"),
    "entity": (b"<!DOCTYPE d [<!ENTITY a SYSTEM 'file:///etc/passwd'>]><domain><name>&a;</name></domain>", "DOCTYPE"),
    "parameter": (b"<!DOCTYPE d [<!ENTITY % a SYSTEM 'file:///etc/passwd'> %a;]><domain/>", ""),
    "include": (
        b"<x:include xmlns:x='http://www.w3.org/2001/XInclude' href='/etc/passwd' parse='text'/>",
        "not a libvirt domain",
    ),
    "large": (b"<domain>" + b" " * MAX_BYTES + b"</domain>", f"more than {MAX_BYTES} bytes"),
}


@pytest.mark.parametrize("kind", NO_DOMAINS)
def test_what_is_no_domain_gives_an_error_line_and_the_others_are_judged(files: Path, kind: str) -> None:
    content, reason = NO_DOMAINS[kind]
    wrong = _make(files / "wrong.xml", content)
    error, judged = lines(wrong, files / "plain.xml")
    assert set(error) == {"file", "error"}
    assert reason in error["error"]
    assert "root:" not in error["error"] and "\n" not in error["error"]
    assert len(error["error"]) < 250
    assert judged["name"] == "vm1"
    assert call(wrong, files / "plain.xml")[0] == 3


def test_an_included_file_is_not_read(files: Path) -> None:
    xml = domain("<x:include xmlns:x='http://www.w3.org/2001/XInclude' href='/etc/passwd' parse='text'/>")
    assert "root:" not in json.dumps(lines(_make(files / "include.xml", xml)))


def test_what_is_no_regular_file_is_refused_at_once(files: Path) -> None:
    fifo = files / "pipe"
    os.mkfifo(fifo)
    found = lines(files, fifo, "/dev/zero", files / "nowhere", "", "a\0b", "/proc/self/mem")
    assert all(set(line) == {"file", "error"} for line in found)
    errors = [line["error"] for line in found]
    assert errors[0] == f"is a directory; name the files in it: {files}/*.xml"
    assert errors[1] == errors[2] == "is no regular file; give the file's path, or - and the XML on stdin"
    assert errors[3] == "cannot be read: No such file or directory"


def test_a_file_that_may_not_be_read_is_told(files: Path) -> None:
    secret = _make(files / "secret.xml", domain(DISK))
    secret.chmod(0)
    files.chmod(0o755)
    code = (
        "import os, sys; from vmferry.terminal.inspect_run import Profile, inspect_file\n"
        "if os.geteuid() == 0: os.setgid(65534), os.setuid(65534)\n"  # root may read everything
        "print(inspect_file(sys.argv[1], Profile.RHEL8).error)"
    )
    assert _run([sys.executable, "-c", code, secret]).stdout == "cannot be read: Permission denied\n"


def _run(command: list[object], **more: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=60, **more)


def test_a_link_to_a_file_is_followed(files: Path) -> None:
    (files / "link.xml").symlink_to(files / "plain.xml")
    assert lines(files / "link.xml")[0]["name"] == "vm1"


def test_a_name_that_is_no_utf8_can_be_shown(files: Path) -> None:
    name = os.fsencode(files) + b"/\xff.xml"
    Path(os.fsdecode(name)).write_text(domain(DISK))
    done = _run([sys.executable, "-m", "vmferry.cli", "inspect", "--json", os.fsdecode(name)])
    assert json.loads(done.stdout)["file"] == f"{files}/\\xff.xml"


# stdin


def test_a_dash_reads_stdin() -> None:
    code, out, _ = call("--json", "-", stdin=domain(DISK).encode())
    assert (code, json.loads(out)["file"], json.loads(out)["name"]) == (0, "-", "vm1")


def test_stdin_is_bounded_too() -> None:
    code, out, _ = call("--json", "-", stdin=b"<domain>" + b" " * MAX_BYTES)
    assert code == 3
    assert f"more than {MAX_BYTES} bytes" in json.loads(out)["error"]


def test_xml_in_another_encoding_is_read_as_it_declares(files: Path) -> None:
    xml = "<?xml version='1.0' encoding='utf-16'?>" + domain(DISK).replace("vm1", "grüße")
    assert lines(_make(files / "utf16.xml", xml.encode("utf-16")))[0]["name"] == "grüße"


def test_control_characters_of_a_name_do_not_reach_the_terminal(files: Path) -> None:
    out = call(_make(files / "odd.xml", domain(DISK).replace("vm1", "a&#x9b;31mb&#x85;c")))[1]
    assert "\x9b" not in out and "\x85" not in out


def test_neither_prefect_nor_libvirt_nor_an_inventory_is_needed(files: Path) -> None:
    code = (
        "import sys\nfrom typer.testing import CliRunner\nfrom vmferry.cli import app\n"
        "CliRunner().invoke(app, ['inspect', sys.argv[1]])\n"
        "heavy = ('prefect', 'libvirt', 'sqlalchemy', 'fabric', 'infra', 'tasks')\n"
        "print([m for m in sys.modules if m.split('.')[0] in heavy])"
    )
    done = _run(
        [sys.executable, "-c", code, files / "plain.xml"], env={**os.environ, "VMFERRY_CALL_TIMEOUT_S": "wrong"}
    )
    assert done.stdout == "[]\n"
