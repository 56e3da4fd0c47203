"""Copies of files and devices from host to host: the fastest way that both hosts can do, and why it was that one."""

from __future__ import annotations

import logging
import posixpath

from vmferry.adapters.ssh_copy_engine import Job, NoPython, NoWay, copy_by_extents
from vmferry.adapters.ssh_copy_plain import NoTool, copy_by_scp, copy_by_tar
from vmferry.adapters.ssh_copy_relay import copy_by_relay
from vmferry.adapters.ssh_shell import SshShell
from vmferry.errors import CopyFailed, HostUnreachable, PermanentError
from vmferry.model.disks import CopyDone, CopyMethod, CopyOptions, CopyStats
from vmferry.model.host import Host
from vmferry.ports import OnCopy
from vmferry.settings import Settings

logger = logging.getLogger("vmferry.copy")


class Copier:
    """Copies from one host; connections of its own, for the ordinary ones carry short calls."""

    def __init__(self, source: Host, settings: Settings, ssh_config: str | None) -> None:
        self._source = source
        self._settings = settings
        self._ssh_config = ssh_config

    def copy(self, path: str, dest: Host, staging: str, options: CopyOptions, on_copy: OnCopy | None) -> CopyDone:
        """Copy as `HostTools.copy_file` promises."""
        if not posixpath.isabs(path) or not posixpath.isabs(staging):
            raise PermanentError(f"file {path}: {staging}: a copy needs absolute paths")
        if not options.is_device and not posixpath.basename(posixpath.dirname(staging)).startswith(".vmferry-"):
            raise PermanentError(f"file {path}: {staging} is not in a staging directory (.vmferry-RUN)")
        job = Job(self._source.name, dest, path, staging, options, self._settings, on_copy or _ignore)
        here, there = self._shell(self._source), self._shell(dest)
        try:
            done = _forced(job, here, there) if options.method else _fastest(job, here, there)
        finally:
            here.close()
            there.close()
        logger.info(
            "file %s: %s → %s by %s (%s): %.0f MiB sent, %.0f MiB were there, %.1f s",
            path, job.source, dest.name, done.method, done.reason, done.sent_bytes / 2**20,
            done.resumed_bytes / 2**20, done.seconds,
        )  # fmt: skip
        return done

    def _shell(self, host: Host) -> SshShell:
        return SshShell(host, ssh_config=self._ssh_config, connect_timeout_s=self._settings.connect_timeout_s)


def _ignore(_stats: CopyStats) -> None:
    """Take a sample."""


def _forced(job: Job, here: SshShell, there: SshShell) -> CopyDone:
    reason = "asked for"
    match job.options.method:
        case CopyMethod.TAR:
            return copy_by_tar(job, here, there, reason)
        case CopyMethod.SCP:
            return copy_by_scp(job, here, there, reason)
        case CopyMethod.RELAY:
            return copy_by_relay(job, here, there, reason)
        case _:
            return copy_by_extents(job, here, reason)


def _fastest(job: Job, here: SshShell, there: SshShell) -> CopyDone:
    """Try the methods, fastest first, until one is not out of the question."""
    try:
        try:
            return copy_by_extents(job, here, "both hosts have Python")
        except NoPython as error:
            return _without_python(job, here, there, str(error))
    except NoWay as error:
        return _around(job, here, there, error)


def _without_python(job: Job, here: SshShell, there: SshShell, reason: str) -> CopyDone:
    logger.info("file %s: not by extents: %s", job.path, reason)
    if job.options.bandwidth_mib_s:
        return copy_by_scp(job, here, there, f"{reason}; of the others only scp keeps to a bandwidth")
    try:
        return copy_by_tar(job, here, there, reason)
    except NoTool as error:
        return copy_by_scp(job, here, there, f"{reason}; {error}")


def _around(job: Job, here: SshShell, there: SshShell, no_way: NoWay) -> CopyDone:
    """Go through this machine; when that reaches the destination as little, the direct way's reason is told."""
    logger.info("file %s: %s; through this machine instead", job.path, no_way)
    try:
        return copy_by_relay(job, here, there, f"{job.source} cannot reach {job.dest.name} over ssh")
    except HostUnreachable as error:
        if "Host key verification failed" in str(no_way) or "Permission denied" in str(no_way):
            text = f"{no_way}; nor through the machine that runs vmferry: {error}"
            raise CopyFailed(text, host=job.dest.name) from error
        raise
