"""Power of hosts: how each is switched, what its management controller says, and who sleeps."""

from __future__ import annotations

import re
from datetime import datetime
from enum import StrEnum
from typing import Self
from uuid import UUID

from pydantic import Field, model_validator

from vmferry.model.base import Model

_MAC = re.compile(r"([0-9a-f]{2}[:-]){5}[0-9a-f]{2}", re.IGNORECASE)


class PowerDriver(StrEnum):
    """How a host is switched on and off."""

    REDFISH = "redfish"
    IPMI = "ipmi"
    WOL = "wake-on-lan"  # woken by a packet, switched off by itself
    COMMAND = "command"  # the operator's own programs


class PowerControl(Model):
    """The inventory's `power:` of a host. Passwords stand in a file, never here."""

    driver: PowerDriver
    address: str = Field(default="", description="management controller: host, or URL for Redfish")
    user: str = ""
    password_file: str = Field(default="", description="file that holds the password alone; only its owner may read it")
    system: str = Field(default="", description="Redfish: which system behind the controller, where it has several")
    ca_file: str = Field(default="", description="Redfish: certificate authority of the controller")
    port: int = Field(default=623, ge=1, le=65535, description="IPMI: UDP port")
    cipher: int | None = Field(
        default=None, ge=0, le=17, description="IPMI: cipher suite; the controller's best if none"
    )
    uuid: UUID | None = Field(
        default=None, description="that the controller gives its machine, where it is not the machine's own"
    )
    mac: str = Field(default="", description="wake-on-lan: hardware address of the network card")
    broadcast: str = Field(default="255.255.255.255", description="wake-on-lan: address that the packet is sent to")
    on: tuple[str, ...] = Field(default=(), description="command: program and arguments that switch it on")
    status: tuple[str, ...] = Field(default=(), description="command: prints `on` or `off`")
    boot_s: int = Field(default=600, ge=10, le=7200, description="until a woken host answers at the latest, s")
    off_s: int = Field(default=300, ge=10, le=7200, description="until a host is off at the latest, s")

    @model_validator(mode="after")
    def _check(self) -> Self:
        needed = {
            PowerDriver.REDFISH: ("address", "user", "password_file"),
            PowerDriver.IPMI: ("address", "user", "password_file"),
            PowerDriver.WOL: ("mac",),
            PowerDriver.COMMAND: ("on", "status"),
        }[self.driver]
        if missing := [name for name in needed if not getattr(self, name)]:
            raise ValueError(f"driver {self.driver} needs {', '.join(missing)} too")
        if self.mac and not _MAC.fullmatch(self.mac):
            raise ValueError(f"mac {self.mac!r} is no hardware address; write for example 52:54:00:12:34:56")
        is_safe = self.address.startswith(("https://", "http://127.", "http://[::1]"))
        if self.driver is PowerDriver.REDFISH and not is_safe:
            raise ValueError(f"address {self.address!r}: write https://…; the password must not travel in the clear")
        return self


class PowerState(StrEnum):
    """Whether a machine has power, as its driver tells it."""

    ON = "on"
    OFF = "off"
    UNKNOWN = "unknown"  # nothing tells: a host that is silent may be off, or have lost its network


class PowerReading(Model):
    """What a driver says of the machine that it switches."""

    state: PowerState
    uuids: tuple[UUID, ...] = ()  # of the machine behind the controller; two for one, where the byte order is not told
    serial: str = ""
    watts: float | None = None


class MachineIdentity(Model):
    """Which machine a host is, as it says itself (DMI)."""

    uuid: UUID | None = None
    serial: str = ""
    boot_id: str = ""  # another one after each start


class SleepState(StrEnum):
    """Where a host stands with vmferry."""

    AWAKE = "awake"
    FALLING = "falling asleep"  # written before it is switched off
    ASLEEP = "asleep"
    WAKING = "waking"


class SleepRecord(Model):
    """What the journal has of one host's power."""

    host: str
    state: SleepState
    owner: str
    since: datetime
    watts: float | None = None  # drawn just before it was switched off
    tested_at: datetime | None = None  # it was off and came back, the last time
    reason: str = ""


class PowerEnd(StrEnum):
    """What became of one host."""

    OFF = "off"
    ON = "on"
    KEPT_ON = "kept on"  # something stood against it; nothing was done
    FAILED = "failed"


class PowerOutcome(Model):
    """How one host's switching ended."""

    host: str
    end: PowerEnd
    reason: str = ""
    seconds: float = 0.0
    watts: float | None = None
    slept_h: float = 0.0

    @property
    def saved_wh(self) -> float | None:
        """Return what was saved while it slept, as far as its controller tells what it drew."""
        return None if self.watts is None else self.watts * self.slept_h


class PowerReport(Model):
    """What became of all hosts of a run."""

    outcomes: tuple[PowerOutcome, ...]
    reserve: tuple[str, ...] = ()  # would have slept, and stay on

    def of(self, *ends: PowerEnd) -> tuple[PowerOutcome, ...]:
        """Return the hosts that ended so."""
        return tuple(one for one in self.outcomes if one.end in ends)
