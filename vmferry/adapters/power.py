"""Power drivers: Redfish by sushy, IPMI by ipmitool, wake-on-LAN, own commands; and a host's own poweroff."""

from __future__ import annotations

import os
import re
import socket
import stat
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from uuid import UUID

import sushy
from sushy import exceptions as redfish_errors
from sushy.auth import BasicAuth

from vmferry.adapters.ssh_shell import Script, SshShell
from vmferry.errors import InvalidInput, OutcomeUnknown, PermanentError, TransientError
from vmferry.model.host import Host
from vmferry.model.power import MachineIdentity, PowerControl, PowerDriver, PowerReading, PowerState
from vmferry.settings import Settings

_CALL_S = 60
_IDENTIFY = Script(
    "identify",
    r"""cd /sys/class/dmi/id 2>/dev/null
cat product_uuid 2>/dev/null || echo
cat product_serial 2>/dev/null || echo
cat /proc/sys/kernel/random/boot_id
""",
)
# The call comes back before the ssh server goes: nothing is lost that would have to be looked at.
_POWER_OFF = Script("poweroff", "systemctl --no-block poweroff", is_write=True)


def open_power(host: Host) -> Redfish | Ipmi | WakeOnLan | Commands:
    """Return the driver that the inventory names for a host; raises InvalidInput when it names none."""
    control = host.power
    if control is None:
        raise InvalidInput(
            f"host {host.name}: the inventory does not say how it is switched on; write `power: {{driver: …}}`",
            host=host.name,
        )
    match control.driver:
        case PowerDriver.REDFISH:
            return Redfish(host.name, control)
        case PowerDriver.IPMI:
            return Ipmi(host.name, control)
        case PowerDriver.WOL:
            return WakeOnLan(host.name, control)
        case PowerDriver.COMMAND:
            return Commands(host.name, control)


def read_password(host: str, path: str) -> str:
    """Return the password in a file; raises InvalidInput where others may read it."""
    file = Path(path).expanduser()
    try:
        mode = file.stat().st_mode
        text = file.read_text(encoding="utf-8").rstrip("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"host {host}: password_file {path}: cannot be read: {error}", host=host) from error
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise InvalidInput(f"host {host}: password_file {path}: others may read it; `chmod 600 {path}`", host=host)
    if not text:
        raise InvalidInput(f"host {host}: password_file {path}: is empty", host=host)
    return text


class Redfish:
    """A management controller that speaks Redfish, through OpenStack's sushy."""

    def __init__(self, host: str, control: PowerControl) -> None:
        self.host, self._control = host, control

    def read(self) -> PowerReading:
        """Read state, identity, and watts where a chassis tells them."""
        try:
            system = self._system()
            uuids = (UUID(system.uuid),) if system.uuid else ()
            serial = system.serial_number or ""
            return PowerReading(state=_redfish_state(system), uuids=uuids, serial=serial, watts=_redfish_watts(system))
        except (redfish_errors.SushyError, ValueError) as error:
            raise self._lost(error) from error

    def state(self) -> PowerState:
        """Read the state."""
        try:
            return _redfish_state(self._system())
        except redfish_errors.SushyError as error:
            raise self._lost(error) from error

    def on(self) -> None:
        """Switch it on."""
        try:
            system = self._system()
            if _redfish_state(system) is not PowerState.ON:
                system.reset_system(sushy.ResetType.ON)
        except redfish_errors.SushyError as error:
            raise self._lost(error) from error

    def _system(self) -> Any:
        control = self._control
        password = read_password(self.host, control.password_file)
        verify: bool | str = control.ca_file or True
        auth = BasicAuth(control.user, password)
        # Its own patience is 10 × 3 s, while whoever polls is patient already.
        patience = {"server_side_retries": 1, "server_side_retries_delay": 1, "read_timeout": _CALL_S}
        root = sushy.Sushy(control.address.rstrip("/"), auth=auth, verify=verify, **patience)
        paths = root.get_system_collection().members_identities
        wanted = [path for path in paths if control.system in (path, path.rstrip("/").rpartition("/")[2], "")]
        if len(wanted) != 1:
            raise InvalidInput(
                f"host {self.host}: power: {control.address} has {len(paths)} systems ({', '.join(paths)}); say which "
                "one as `system:`",
                host=self.host,
            )
        return root.get_system(wanted[0])

    def _lost(self, error: Exception) -> PermanentError | TransientError:
        text = f"host {self.host}: Redfish at {self._control.address}: {error}"
        if isinstance(error, redfish_errors.ConnectionError | redfish_errors.ServerSideError):
            return TransientError(text, host=self.host)
        return PermanentError(text, host=self.host)


def _redfish_state(system: Any) -> PowerState:
    told = str(getattr(system.power_state, "value", system.power_state))
    return {"On": PowerState.ON, "Off": PowerState.OFF}.get(told, PowerState.UNKNOWN)


def _redfish_watts(system: Any) -> float | None:
    """Return what the system's first chassis draws; many controllers tell none."""
    try:
        said = system.chassis[0].power.json["PowerControl"][0]["PowerConsumedWatts"]
        return float(said)
    except (redfish_errors.SushyError, AttributeError, LookupError, TypeError, ValueError):
        return None


class Ipmi:
    """A management controller that speaks IPMI 2.0, through ipmitool; the password goes by a file."""

    def __init__(self, host: str, control: PowerControl) -> None:
        self.host, self._control = host, control

    def read(self) -> PowerReading:
        """Read state and the machine's GUID."""
        state = self.state()
        drawn = re.search(
            r"Instantaneous power reading:\s*(\d+) Watts", self._run("dcmi", "power", "reading", may_fail=True)
        )
        uuids = parse_guid(self._run("mc", "guid", may_fail=True))
        return PowerReading(state=state, uuids=uuids, watts=float(drawn[1]) if drawn else None)

    def state(self) -> PowerState:
        """Read the state."""
        found = re.search(r"Chassis Power is (on|off)", self._run("chassis", "power", "status"), re.IGNORECASE)
        return PowerState(found[1].lower()) if found else PowerState.UNKNOWN

    def on(self) -> None:
        """Switch it on; IPMI takes that of a machine that is on for done."""
        self._run("chassis", "power", "on")

    def _run(self, *words: str, may_fail: bool = False) -> str:
        control = self._control
        read_password(self.host, control.password_file)
        password = ["-f", str(Path(control.password_file).expanduser())]
        where = ["-H", control.address, "-p", str(control.port), "-U", control.user]
        cipher = ["-C", str(control.cipher)] if control.cipher is not None else []
        argv = ["ipmitool", "-I", "lanplus", *cipher, *where, *password, *words]
        done = run_program(self.host, argv, "ipmitool")
        if done.returncode and not may_fail:
            said = " ".join((done.stderr or done.stdout).split())
            raise TransientError(
                f"host {self.host}: IPMI at {control.address}: {' '.join(words)}: {said}", host=self.host
            )
        return done.stdout


def parse_guid(text: str) -> tuple[UUID, ...]:
    """Return the UUIDs that `ipmitool mc guid` may mean: controllers mix the byte orders of SMBIOS and RFC 4122."""
    # Where ipmitool does not know the encoding it writes the bytes without dashes.
    found = re.search(r"^System GUID\s*:\s*([0-9a-f-]{36}|[0-9a-f]{32})\s*$", text, re.IGNORECASE | re.MULTILINE)
    if found is None or not set(found[1]) - set("0-"):
        return ()
    told = UUID(found[1])
    return tuple(dict.fromkeys((told, UUID(bytes=told.bytes_le), UUID(bytes=told.bytes[::-1]))))


class WakeOnLan:
    """A host without a controller: a packet wakes it, and nothing tells whether it has power."""

    def __init__(self, host: str, control: PowerControl) -> None:
        self.host, self._control = host, control

    def read(self) -> PowerReading:
        """Nothing is known."""
        return PowerReading(state=PowerState.UNKNOWN)

    def state(self) -> PowerState:
        """Nothing is known."""
        return PowerState.UNKNOWN

    def on(self) -> None:
        """Send the magic packet (six times FF, sixteen times the address), three times: it has no answer."""
        mac = bytes.fromhex(re.sub("[:-]", "", self._control.mac))
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
            try:
                for _ in range(3):
                    sender.sendto(b"\xff" * 6 + mac * 16, (self._control.broadcast, 9))
            except OSError as error:
                text = f"host {self.host}: wake-on-LAN to {self._control.broadcast}: {error}"
                raise TransientError(text, host=self.host) from error


class Commands:
    """The operator's own programs on the management host."""

    def __init__(self, host: str, control: PowerControl) -> None:
        self.host, self._control = host, control

    def read(self) -> PowerReading:
        """Read the state; which machine it is nothing tells."""
        return PowerReading(state=self.state())

    def state(self) -> PowerState:
        """Take the last word that `status` prints."""
        done = run_program(self.host, self._control.status, "status")
        words = done.stdout.split()
        last = words[-1].lower() if words and not done.returncode else ""
        return PowerState(last) if last in ("on", "off") else PowerState.UNKNOWN

    def on(self) -> None:
        """Run `on`."""
        done = run_program(self.host, self._control.on, "on")
        if done.returncode:
            said = " ".join((done.stderr or done.stdout).split())
            raise TransientError(f"host {self.host}: power: {self._control.on[0]}: {said}", host=self.host)


def run_program(host: str, argv: Sequence[str], what: str) -> subprocess.CompletedProcess[str]:
    """Run a program of the management host, bounded in time."""
    try:
        return subprocess.run(
            list(argv), check=False, capture_output=True, text=True, timeout=_CALL_S, stdin=subprocess.DEVNULL,
            env={**os.environ, "LC_ALL": "C"},
        )  # fmt: skip
    except FileNotFoundError as error:
        text = f"host {host}: power: {argv[0]} is not installed on this machine; install it"
        raise PermanentError(text, host=host) from error
    except subprocess.TimeoutExpired as error:
        raise TransientError(f"host {host}: power: {what}: no end within {_CALL_S} s", host=host) from error


class SshPower:
    """`vmferry.ports.power.HostPower` by ssh: which machine it is, and `systemctl poweroff`."""

    def __init__(self, host: Host, settings: Settings, *, ssh_config: str | None) -> None:
        self.host = host.name
        self._settings = settings
        self._shell = SshShell(host, ssh_config=ssh_config, connect_timeout_s=settings.connect_timeout_s)

    def close(self) -> None:
        """Close the connection."""
        self._shell.close()

    def identify(self) -> MachineIdentity:
        """Read UUID and serial number from DMI, and the id of this start."""
        done = self._shell.run_script(_IDENTIFY, [], timeout_s=self._settings.call_timeout_s)
        uuid, serial, boot_id = [line.strip() for line in (*done.stdout.split("\n"), "", "", "")[:3]]
        return MachineIdentity(uuid=_uuid(uuid), serial=serial, boot_id=boot_id)

    def power_off(self) -> None:
        """Shut the host down; an answer that is lost is what a host does that goes down."""
        try:
            done = self._shell.run_script(_POWER_OFF, [], timeout_s=self._settings.call_timeout_s)
        except OutcomeUnknown:
            return
        finally:
            self._shell.close()
        if not done.is_ok:
            raise PermanentError(f"host {self.host}: `systemctl poweroff`: {done.complaint}", host=self.host)


def _uuid(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None
