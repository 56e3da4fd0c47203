"""Power drivers against what speaks their protocol: sushy's Redfish emulator, OpenIPMI's simulator, a UDP socket."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import pytest
from pydantic import ValidationError

from tests.unit.builders import build_host
from vmferry.adapters.power import Commands, Ipmi, Redfish, WakeOnLan, open_power, parse_guid, read_password
from vmferry.errors import InvalidInput, PermanentError, TransientError
from vmferry.model.power import PowerControl, PowerDriver, PowerState

MACHINE = "58893887-894d-4d8b-9b53-8f5c6e11d7a1"
SECRET = "hunter2-not-on-a-command-line"
SHORT = SECRET[:14]  # the simulator takes no longer one


def free_port(kind: socket.SocketKind) -> int:
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(is_there: object, what: str) -> None:
    deadline = time.monotonic() + 60
    while not is_there():  # type: ignore[operator]
        assert time.monotonic() < deadline, what
        time.sleep(0.1)


@pytest.fixture
def password(tmp_path: Path) -> str:
    file = tmp_path / "password"
    file.write_text(f"{SECRET}\n")
    file.chmod(0o600)
    return str(file)


@pytest.fixture(scope="module")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Redfish service with one machine that is off, as OpenStack tests its drivers."""
    place, port = tmp_path_factory.mktemp("redfish"), free_port(socket.SOCK_STREAM)
    system = {"uuid": MACHINE, "name": "kvm1", "power_state": "Off", "nics": []}
    (place / "emulator.conf").write_text(
        f"SUSHY_EMULATOR_LISTEN_IP = '127.0.0.1'\nSUSHY_EMULATOR_LISTEN_PORT = {port}\n"
        "SUSHY_EMULATOR_FAKE_DRIVER = True\n"
        f"SUSHY_EMULATOR_FAKE_SYSTEMS = {[system]!r}\nSUSHY_EMULATOR_STATE_DIR = '{place}'\n"
    )
    program = [Path(sys.executable).with_name("sushy-emulator"), "--config", str(place / "emulator.conf"), "--fake"]
    with (place / "log").open("wb") as log:
        running = subprocess.Popen(program, stdout=log, stderr=log)
    try:
        with_port = ("127.0.0.1", port)

        def answers() -> bool:
            assert running.poll() is None, (place / "log").read_text()
            with socket.socket() as probe:
                return probe.connect_ex(with_port) == 0

        wait_for(answers, "the emulator")
        yield f"http://127.0.0.1:{port}"
    finally:
        running.terminate()
        running.wait(10)


def redfish(address: str, password: str, **given: object) -> Redfish:
    values = {"driver": "redfish", "address": address, "user": "admin", "password_file": password, **given}
    return Redfish("kvm1", PowerControl.model_validate(values))


def test_redfish_tells_which_machine_it_is_and_switches_it_on(emulator: str, password: str) -> None:
    driver = redfish(emulator, password)
    before = driver.read()
    assert before.uuids == (UUID(MACHINE),)
    assert before.state is PowerState.OFF
    driver.on()
    wait_for(lambda: driver.state() is PowerState.ON, "power")
    driver.on()
    assert driver.state() is PowerState.ON


def test_redfish_that_is_not_there_may_be_asked_again(password: str) -> None:
    with pytest.raises(TransientError, match="Redfish at http"):
        redfish(f"http://127.0.0.1:{free_port(socket.SOCK_STREAM)}", password).read()


def test_a_system_that_the_controller_does_not_have_is_told_with_those_it_has(emulator: str, password: str) -> None:
    with pytest.raises(InvalidInput, match=rf"1 systems \(.*{MACHINE}"):
        redfish(emulator, password, system="other").read()


@pytest.fixture(scope="module")
def simulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """A management controller that speaks IPMI 2.0, with one chassis whose power is a file."""
    place, port = tmp_path_factory.mktemp("ipmi"), free_port(socket.SOCK_DGRAM)
    chassis = place / "chassis"
    chassis.write_text(
        f'#!/bin/sh\ncase $2 in get) echo "power:$(cat {place}/power)" ;; set) echo "$4" >{place}/power ;; esac\n'
    )
    chassis.chmod(0o755)
    (place / "power").write_text("0\n")
    auths = "".join(f"    allowed_auths_{who} none md5 straight\n" for who in ("callback", "user", "operator", "admin"))
    (place / "lan.conf").write_text(
        f'name "kvm1"\nset_working_mc 0x20\n  startlan 1\n    addr 127.0.0.1 {port}\n    priv_limit admin\n{auths}'
        "    guid 001122334455667788990a0b0c0d0e0f\n  endlan\n"
        f'  chassis_control "{chassis} 0x20"\n'
        f'  user 1 true "" "" user 10 none md5 straight\n  user 2 true "admin" "{SHORT}" admin 10 none md5 straight\n'
    )
    controller = "mc_add 0x20 0 no-device-sdrs 0x23 9 8 0x9f 0x1291 0xf02 persist_sdr"
    (place / "sdr").write_text(f"mc_setbmc 0x20\n{controller}\nmc_enable 0x20\n")
    program = ["ipmi_sim", "-n", "-c", str(place / "lan.conf"), "-f", str(place / "sdr"), "-s", str(place)]
    with (place / "log").open("wb") as log:
        running = subprocess.Popen(program, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
    try:
        time.sleep(1)
        assert running.poll() is None, (place / "log").read_text()
        yield port
    finally:
        running.kill()
        running.wait(10)


def test_ipmi_reads_and_switches_a_machine_without_showing_its_password(simulator: int, tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text(SHORT)
    file.chmod(0o600)
    control = {"driver": "ipmi", "address": "127.0.0.1", "port": simulator, "user": "admin", "password_file": str(file)}
    control |= {"cipher": 3}  # the simulator has no answer to what suites it knows, and is waited for
    driver = Ipmi("kvm1", PowerControl.model_validate(control))
    before = driver.read()
    assert before.state is PowerState.OFF
    assert UUID("00112233-4455-6677-8899-0a0b0c0d0e0f") in before.uuids
    driver.on()
    wait_for(lambda: driver.state() is PowerState.ON, "power")


def test_a_guid_is_taken_in_either_byte_order_and_zeros_are_none() -> None:
    told = parse_guid("System GUID  : 87388958-4d89-8b4d-9b53-8f5c6e11d7a1\nGUID Encoding: unknown\n")
    assert UUID(MACHINE) in told
    assert parse_guid("System GUID  : 00000000-0000-0000-0000-000000000000\n") == ()


def test_the_magic_packet_is_six_times_ff_and_sixteen_times_the_address(monkeypatch: pytest.MonkeyPatch) -> None:
    control = PowerControl(driver=PowerDriver.WOL, mac="52:54:00:12:34:56", broadcast="127.255.255.255")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as ear:
        ear.settimeout(10)
        ear.bind(("127.255.255.255", 9))
        WakeOnLan("kvm1", control).on()
        packet = ear.recv(200)
    assert packet == b"\xff" * 6 + bytes.fromhex("525400123456") * 16
    assert WakeOnLan("kvm1", control).read().state is PowerState.UNKNOWN


def test_own_commands_switch_and_tell(tmp_path: Path) -> None:
    state = tmp_path / "state"
    state.write_text("off")
    control = PowerControl(driver=PowerDriver.COMMAND, on=("sh", "-c", f"echo on >{state}"), status=("cat", str(state)))
    driver = Commands("kvm1", control)
    assert driver.read().state is PowerState.OFF
    driver.on()
    assert driver.state() is PowerState.ON
    broken = Commands("kvm1", control.model_copy(update={"on": ("false",), "status": ("false",)}))
    assert broken.read().state is PowerState.UNKNOWN
    with pytest.raises(TransientError):
        broken.on()
    with pytest.raises(PermanentError, match="not installed"):
        Commands("kvm1", control.model_copy(update={"on": ("no-such-program",)})).on()


def test_a_password_that_others_may_read_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text(SECRET)
    file.chmod(0o644)
    with pytest.raises(InvalidInput, match="chmod 600") as told:
        read_password("kvm1", str(file))
    assert SECRET not in str(told.value)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"driver": "redfish"}, "needs address, user, password_file"),
        ({"driver": "wake-on-lan", "mac": "12:34"}, "no hardware address"),
        ({"driver": "redfish", "address": "http://bmc1", "user": "a", "password_file": "/p"}, "in the clear"),
        ({"driver": "command", "on": ["x"]}, "needs status"),
    ],
)
def test_a_wrong_power_entry_is_refused(given: dict[str, object], told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        PowerControl.model_validate(given)


def test_a_host_that_the_inventory_does_not_switch_says_so() -> None:
    with pytest.raises(InvalidInput, match="power:"):
        open_power(build_host("kvm1"))
