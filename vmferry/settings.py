"""Settings: read once from the environment (`VMFERRY_…`), then frozen."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from vmferry.errors import InvalidInput

ENV_PREFIX = "VMFERRY_"


def default_state_dir() -> Path:
    """Return where vmferry keeps its memory: /var/lib/vmferry for root, else below XDG_STATE_HOME."""
    if os.geteuid() == 0:
        return Path("/var/lib/vmferry")
    base = os.environ.get("XDG_STATE_HOME") or "~/.local/state"
    return Path(base).expanduser() / "vmferry"


class Settings(BaseSettings):
    """What the environment says; each field is the variable `VMFERRY_` + its name in capitals.

    The journal's URL may hold a password: it is a SecretStr, and only the journal's adapter unwraps it.
    """

    model_config = SettingsConfigDict(env_prefix=ENV_PREFIX, frozen=True, extra="ignore", env_ignore_empty=True)

    inventory: Path | None = Field(default=None, description="inventory file (YAML)")
    site: Path | None = Field(default=None, description="site file of `vmferry deploy` (YAML)")
    state_dir: Path = Field(default_factory=default_state_dir, description="place of journal and reports")
    journal_url: SecretStr = Field(default=SecretStr(""), description="SQLAlchemy URL; SQLite by default")
    report_dir: Path = Field(default=Path(), description="reports; in state_dir by default")
    connect_timeout_s: float = Field(default=10.0, gt=0, le=600, description="connecting to a host, s")
    call_timeout_s: float = Field(default=60.0, gt=0, le=3600, description="one call to a host, s")
    move_timeout_s: float | None = Field(default=None, gt=0, description="one move, s; none: 120 + 150 per GiB")
    # libvirt ends a move over a dead link within 30 s (keepalive); what is still there later does not end by itself.
    move_stall_s: float = Field(default=120.0, gt=0, le=3600, description="a move that sends nothing is aborted, s")
    copy_timeout_s: float | None = Field(default=None, gt=0, description="copy of one disk, s; none: no limit")
    copy_streams: int = Field(default=4, ge=1, le=16, description="ssh connections of one disk's copy at most")
    copy_patience_s: float = Field(default=60.0, ge=0, le=86400, description="broken link: tried again for so long, s")
    copy_digest: Literal["crc32", "sha256"] = Field(default="crc32", description="proof of what a copy wrote to disk")
    copy_tls: Literal["auto", "always", "never"] = Field(
        default="auto", description="disks travel by TLS to a migration port, not ssh; auto: where that pays"
    )
    settle_patience_s: float = Field(default=45.0, ge=0, le=3600, description="waiting for a silent host to answer, s")
    progress_interval_s: float = Field(default=0.5, ge=0.05, le=60, description="between samples of a move, s")
    keepalive_interval_s: int = Field(default=2, ge=1, le=300, description="between keep-alive messages, s")
    keepalive_count: int = Field(default=3, ge=1, le=100, description="unanswered ones until a host is lost")
    purge_after_days: float = Field(default=7.0, ge=0, le=36500, description="before what moves left may go, days")
    usage_keep_days: float = Field(default=14.0, ge=1, le=366, description="usage samples are kept for so many days")
    on_cancel: Literal["finish", "abort"] = Field(default="finish", description="what a cancel does to running moves")
    events_file: Path | None = Field(default=None, description="file that gets each event as a line of JSON")
    debug: bool = Field(default=False, description="tracebacks and Prefect's log on stderr")

    @model_validator(mode="before")
    @classmethod
    def _fill_places(cls, values: dict[str, Any]) -> dict[str, Any]:
        """Journal and reports lie in the state directory unless they are placed elsewhere."""
        state_dir = Path(values.get("state_dir") or default_state_dir()).expanduser().absolute()
        filled = {"journal_url": f"sqlite:///{state_dir}/journal.db", "report_dir": state_dir / "reports"}
        given = {key: value for key, value in values.items() if value not in (None, "")}
        return filled | given | {"state_dir": state_dir}


def read_settings(**given: Any) -> Settings:
    """Read the environment; keyword arguments go before it. Reads only.

    Raises InvalidInput with one problem per wrong variable, without its value (it may hold a password).
    """
    try:
        return Settings(**{key: value for key, value in given.items() if value is not None})
    except ValidationError as error:
        # Only location and text of pydantic's report: its `input` may hold a password.
        problems = tuple(
            f"environment variable {ENV_PREFIX}{str(e['loc'][0]).upper() if e['loc'] else '…'}: {e['msg']}"
            for e in error.errors(include_input=False, include_url=False, include_context=False)
        )
        raise InvalidInput("settings: " + "; ".join(problems), problems=problems) from None
