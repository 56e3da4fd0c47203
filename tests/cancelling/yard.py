"""Two lab hosts with guests of every kind, a Prefect server with a worker, and evacuations between the two hosts."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO
from uuid import UUID

from prefect.client.schemas.actions import WorkPoolCreate
from prefect.states import Cancelling
from pydantic import SecretStr

from flows.evacuate_host import evacuate_host
from flows.recover_runs import recover_runs
from infra.lab import DiskKind, GuestSpec, GuestState, HostSpec, Lab, LabSpec, Watch, take_down
from tasks import _wiring
from tests.prefect_side import ROOT, PrefectServer
from vmferry.adapters.journal import SqlJournal
from vmferry.adapters.world import open_world
from vmferry.inventory import load_inventory
from vmferry.model.approval import ApprovalRule
from vmferry.model.cancelling import OnCancel
from vmferry.model.journal import Mark, RunRecord
from vmferry.settings import read_settings
from vmferry.steps.host_marks import open_host

HOSTS = ("kvm1", "kvm2")
LINK_MIB_S = 20.0  # the memory of a guest flows for one to three seconds
_FILL_MIB_S, _IDLE_MIB_S = 40.0, 1.0
GUESTS = (
    GuestSpec(name="locked", disk=DiskKind.SHARED, working_set_mib=40),  # libvirt's own switch-over
    GuestSpec(name="guarded", disk=DiskKind.NOLOCK, working_set_mib=40),
    GuestSpec(name="diskless", disk=DiskKind.NONE, working_set_mib=24),
    GuestSpec(name="paused", disk=DiskKind.NOLOCK, state=GuestState.PAUSED),
    GuestSpec(name="off", disk=DiskKind.LOCAL, disk_mib=64, disk_data_mib=40, state=GuestState.SHUTOFF),
)
STATES = {"locked": "running", "guarded": "running", "diskless": "running", "paused": "paused", "off": "shut off"}
RUNNING = tuple(guest for guest, state in STATES.items() if state == "running")


class Command:
    """A running command line."""

    def __init__(self, pid: int, answers: IO[str], log: Path) -> None:
        self.pid = pid
        self._answers = answers
        self._log = log
        self._code: int | None = None

    def poll(self) -> int | None:
        """Return the exit code; None while it runs."""
        if self._code is None and select.select([self._answers], [], [], 0)[0]:
            self._code = int(self._answers.readline())
        return self._code

    def send_signal(self, number: int) -> None:
        """Send a signal to it and all that it has started, as a terminal does; no-op when it has ended."""
        if self.poll() is None:
            os.killpg(self.pid, number)

    def wait(self, timeout_s: float) -> int:
        """Wait for the end; kills it, and fails, when it does not come."""
        try:
            wait_until(lambda: self.poll() is not None, "the command ends", timeout_s)
        except AssertionError:
            os.kill(self.pid, signal.SIGKILL)
            self._code = int(self._answers.readline())
            raise
        assert self._code is not None
        return self._code

    def output(self) -> str:
        """Return what it has said."""
        return self._log.read_text()


class Commands:
    """Starts command lines, one at a time, from a process that has imported everything (tests.cancelling.zygote)."""

    def __init__(self, process: subprocess.Popen[str], log: Path) -> None:
        self._process = process
        self._log = log

    @classmethod
    @contextmanager
    def served(cls, environment: dict[str, str], directory: Path) -> Iterator[Commands]:
        """Start the process, and end it."""
        log = directory / "command.log"
        words = ["setpriv", "--pdeathsig", "KILL", sys.executable, "-m", "tests.cancelling.zygote", str(log)]
        with subprocess.Popen(
            words, env=environment, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        ) as process:
            assert process.stdout is not None and process.stdin is not None
            assert process.stdout.readline() == "ready\n"
            yield cls(process, log)
            process.stdin.close()

    def start(self, *words: str) -> Command:
        """Start `vmferry WORD…`."""
        assert self._process.stdout is not None and self._process.stdin is not None
        self._process.stdin.write(json.dumps(words) + "\n")
        return Command(int(self._process.stdout.readline()), self._process.stdout, self._log)


class Yard:
    """The lab as an operator has it: commands, deployments, and what stands on hosts and in the journal."""

    def __init__(self, lab: Lab, server: PrefectServer, state_dir: Path) -> None:
        self.lab = lab
        self.server = server
        self.commands: Commands
        self._state_dir = state_dir
        state_dir.mkdir(parents=True, exist_ok=True)
        self.journal = SqlJournal(f"sqlite:///{state_dir}/journal.db", owner="reader:1:1")
        url = SecretStr(f"sqlite:///{state_dir}/journal.db")
        settings = read_settings(state_dir=state_dir, journal_url=url, settle_patience_s=12)
        self.world = open_world(load_inventory(lab.inventory_path), settings)

    @classmethod
    @contextmanager
    def built(cls, name: str, server: PrefectServer, state_dir: Path) -> Iterator[Yard]:
        """Build the lab, let its guests touch their memory, and take it down at the end."""
        hosts = tuple(HostSpec(name=host) for host in HOSTS)
        filling = tuple(guest.model_copy(update={"dirty_mib_s": _FILL_MIB_S}) for guest in GUESTS)
        try:
            lab = Lab.up(LabSpec(name=name, hosts=hosts, guests=filling))
            for guest in RUNNING:
                wait_until(lambda guest=guest: _has_touched(lab, guest), f"{guest} has touched its memory")  # type: ignore[misc]
                lab.set_rate(guest, _IDLE_MIB_S)
            yard = cls(lab, server, state_dir)
            yard._cap_links(LINK_MIB_S)
            with Commands.served(yard.environment, state_dir) as yard.commands:
                yield yard
            yard.world.close()
        finally:
            take_down(name)

    # operating

    @property
    def environment(self) -> dict[str, str]:
        """What a vmferry process of this yard gets."""
        return self.server.environment() | {
            "VMFERRY_INVENTORY": str(self.lab.inventory_path),
            "VMFERRY_STATE_DIR": str(self._state_dir),
            "VMFERRY_SETTLE_PATIENCE_S": "12",
        }

    def settle(self) -> list[str]:
        """Recover in this process, as `vmferry recover` does; return what is wrong with its end."""
        with _wiring.use(self.world):
            state = recover_runs(return_state=True)
        wrong = [] if state.is_completed() else [f"recovery: {state.type}: {state.message}"]
        return wrong + [f"{record.plan.vm}: its run stays {record.state}" for record in self.journal.unsettled()]

    def reopen(self, host: str) -> None:
        """Let a host that an evacuation has closed receive VMs again, as `vmferry uncordon` does."""
        self.journal.uncordon(host)
        open_host(host, self.world)

    def empty(self, source: str, dest: str) -> list[str]:
        """Evacuate in this process, over links without a cap; return what is wrong with its end."""
        self.reopen(dest)
        self._cap_links(None)
        try:
            with _wiring.use(self.world):
                state = evacuate_host(source, dests=[dest], max_parallel=4, return_state=True)
        finally:
            self._cap_links(LINK_MIB_S)
        wrong = [] if state.is_completed() else [f"the new evacuation: {state.type}: {state.message}"]
        return wrong + [f"{vm} is still on {source}" for vm in self.lab.hosts[source].list_domains()]

    def _cap_links(self, mib_s: float | None) -> None:
        for host in self.lab.hosts.values():
            host.cap_link(mib_s)

    def refresh_paused(self, host: str) -> None:
        """Let the paused guest run for a moment: QEMU 7.2 dies when what arrived paused and never ran moves again.

        (bdrv_inactivate_recurse: Assertion `!(bs->open_flags & BDRV_O_INACTIVE)' failed.)
        """
        self.lab.hosts[host].virsh("resume", "paused")
        self.lab.hosts[host].virsh("suspend", "paused")

    def start_anew(self, *words: str, **environment: str) -> subprocess.Popen[str]:
        """Start a command line with an environment of its own, imports and all."""
        return subprocess.Popen(
            [sys.executable, "-m", "vmferry.cli", *words],
            env=self.environment | environment,
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def evacuate(self, source: str, dest: str, *words: str) -> Command:
        """Start an evacuation; the destination is open, whatever a round before has left."""
        self.reopen(dest)
        return self.commands.start("evacuate", source, "--to", dest, *words)

    @contextmanager
    def worker(self) -> Iterator[None]:
        """Deploy, and let a worker serve the deployments."""
        with self.server.client() as client:
            if not any(pool.name == "vmferry" for pool in client.read_work_pools()):
                client.create_work_pool(WorkPoolCreate(name="vmferry", type="process"))
        self.server.command("deploy", "--all", "--prefect-file", "deployments/prefect.yaml")
        with self.server.client() as client:
            for deployment in client.read_deployments():
                for schedule in deployment.schedules:
                    client.update_deployment_schedule(deployment.id, schedule.id, active=False)
        with ExitStack() as stack:
            given = {k: v for k, v in self.environment.items() if k.startswith("VMFERRY_")}
            stack.enter_context(self.server.worker("vmferry", **given))
            yield

    def deploy_run(self, source: str, dest: str, on_cancel: OnCancel, parallel: int) -> UUID:
        """Have the worker start an evacuation; return its flow run."""
        self.reopen(dest)
        asked = {"host": source, "dests": [dest], "on_cancel": on_cancel.value, "max_parallel": parallel}
        wanted = asked | {"approval": {"who": ApprovalRule.NONE.value}}  # the deployment's own waits for a person
        with self.server.client() as client:
            deployment = client.read_deployment_by_name("evacuate-host/evacuate-host")
            return client.create_flow_run_from_deployment(deployment.id, parameters=wanted).id

    def cancel(self, run: UUID) -> None:
        """Cancel as the UI and `prefect flow-run cancel` do."""
        with self.server.client() as client:
            client.set_flow_run_state(run, Cancelling(), force=False)

    def is_final(self, run: UUID) -> bool:
        """Whether Prefect says that a flow run is over."""
        state = self.server.flow_run(run).state
        return state is not None and state.is_final()

    # looking

    def new_runs(self, known: set[str]) -> tuple[RunRecord, ...]:
        """Return the runs that are not among those known."""
        return tuple(record for record in self.journal.recent(40) if record.run not in known)

    def known(self) -> set[str]:
        """Return the runs of the journal."""
        return {record.run for record in self.journal.recent(40)}

    def step_of(self, run: str) -> str:
        """Return where a run stands, by its last journaled step."""
        rows = [row for row in self.journal.rows(run) if row.mark in (Mark.INTENDED, Mark.DONE)]
        return f"{rows[-1].step}{'' if rows[-1].mark is Mark.INTENDED else ' done'}" if rows else "opened"

    def problems(self, watches: dict[str, Watch]) -> list[str]:
        """Return what is wrong with the guests, by `virsh list --all` of both hosts and by their heartbeats."""
        wrong = []
        for guest, where in self.lab.where_all().items():
            if list(where.values()) != [STATES[guest]]:
                wrong.append(f"{guest}: {where or 'nowhere'}, must be {STATES[guest]} on one host")
        for guest, watch in watches.items():
            if watch.overlap_s > 0:
                wrong.append(f"{guest}: two copies beat for {watch.overlap_s:.2f} s")
            if watch.errors:
                wrong.append(f"{guest}: {watch.errors} pages lost")
            if not any(watch.alive_on(host, within_s=2) for host in HOSTS):
                wrong.append(f"{guest}: does not beat")
        return wrong


def _has_touched(lab: Lab, guest: str) -> bool:
    beat = lab.heartbeats(guest).get("kvm1")
    return beat is not None and beat.passes > 0


def wait_until(is_true: Callable[[], object], what: str, timeout_s: float = 90) -> None:
    """Look until something is true."""
    deadline = time.monotonic() + timeout_s
    while not is_true():
        assert time.monotonic() < deadline, f"not seen within {timeout_s:.0f} s: {what}"
        time.sleep(0.05)


def flow_process(run: UUID) -> int | None:
    """Return the process of a flow run that a worker has started: it has the run's ID in its environment."""
    wanted = f"PREFECT__FLOW_RUN_ID={run}".encode()
    for directory in Path("/proc").glob("[0-9]*"):
        try:
            if wanted in (directory / "environ").read_bytes().split(b"\0") and _is_engine(directory):
                return int(directory.name)
        except OSError:
            continue
    return None


def _is_engine(directory: Path) -> bool:
    return b"engine" in (directory / "cmdline").read_bytes() or int(directory.name) == os.getsid(int(directory.name))


def kill(pid: int) -> None:
    """End a process at once."""
    os.kill(pid, signal.SIGKILL)
