"""A Prefect server of our own, and what it knows of runs: the reader's view, never the truth about a VM."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import (
    ArtifactFilter,
    ArtifactFilterFlowRunId,
    FlowRunFilter,
    FlowRunFilterDeploymentId,
    FlowRunFilterId,
)
from prefect.client.schemas.objects import Artifact, FlowRun, State, TaskRun

ROOT = Path(__file__).resolve().parents[1]
START_S = 120.0
T = TypeVar("T")

# As in deployments/README.md; the batch sizes bring a task run to the server within seconds.
SERVER = {
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_BATCH_SIZE": "100",
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_READ_BATCH_SIZE": "100",
}


def wait_until(look: Callable[[], T], what: str, deadline_s: float = 60.0) -> T:
    """Look until something is there, and return it."""
    end = time.monotonic() + deadline_s
    while not (found := look()):
        assert time.monotonic() < end, f"not within {deadline_s:.0f} s: {what}"
        time.sleep(0.2)
    return found


@dataclass(frozen=True)
class PrefectServer:
    """A running server."""

    api_url: str
    home: Path
    pid: int = 0
    password: str = ""  # user:password; empty: the server asks for none

    @classmethod
    @contextmanager
    def running(cls, home: Path, password: str = "", **environment: str) -> Iterator[PrefectServer]:
        """Start a server with a home and a port of its own, and end it."""
        with socket.create_server(("127.0.0.1", 0)) as probe:
            port = probe.getsockname()[1]
        server = cls(api_url=f"http://127.0.0.1:{port}/api", home=home, password=password)
        given = server.environment() | SERVER | environment
        given |= {"PREFECT_SERVER_API_AUTH_STRING": password} if password else {}
        command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
        with (home / "server.log").open("w") as log, _process(command, given, log) as process:
            wait_until(lambda: _is_healthy(server, process), f"{server.api_url}/health", START_S)
            yield replace(server, pid=process.pid)

    def environment(self) -> dict[str, str]:
        """Return the environment of a process that talks to this server; none of the caller's Prefect settings."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
        ours = {"PREFECT_HOME": str(self.home), "PREFECT_API_URL": self.api_url}
        return kept | ours | ({"PREFECT_API_AUTH_STRING": self.password} if self.password else {})

    def command(self, *words: str, **environment: str) -> str:
        """Run `prefect …` in the checkout, and return what it says."""
        done = subprocess.run(
            [sys.executable, "-m", "prefect", "--no-prompt", *words],
            cwd=ROOT,
            env=self.environment() | environment,
            capture_output=True,
            text=True,
            timeout=400,
            check=False,
        )
        assert done.returncode == 0, f"prefect {' '.join(words)}: {done.stdout}{done.stderr}"
        return done.stdout

    def vmferry(self, *words: str, code: int = 0, **environment: str) -> str:
        """Run `vmferry …` against this server, and return what it says on both streams."""
        done = subprocess.run(
            [sys.executable, "-m", "vmferry.cli", *words],
            cwd=ROOT,
            env=self.environment() | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=400,
            check=False,
        )
        assert done.returncode == code, f"vmferry {' '.join(words)}: {done.returncode}: {done.stdout}"
        return done.stdout

    @contextmanager
    def worker(self, pool: str, *more: str, name: str = "worker", **environment: str) -> Iterator[int]:
        """Let a worker serve the pool for the duration of the block; yields its pid."""
        command = [sys.executable, "-m", "prefect", "worker", "start", "--pool", pool, "--type", "process"]
        given = self.environment() | {"PREFECT_WORKER_QUERY_SECONDS": "1"} | environment
        with (
            # A worker that is killed leaves its temporary files: they go with this directory.
            TemporaryDirectory(prefix="worker-", ignore_cleanup_errors=True) as room,
            (self.home / f"{name}.log").open("w") as log,
            _process([*command, "--name", name, *more], given | {"TMPDIR": room}, log) as process,
        ):
            yield process.pid

    # asking

    def client(self) -> SyncPrefectClient:
        """Return a client for this server."""
        return SyncPrefectClient(self.api_url, auth_string=self.password or None)

    def flow_run(self, run: UUID) -> FlowRun:
        """Return a flow run as the server has it."""
        with self.client() as client:
            return client.read_flow_run(run)

    def runs_of_deployment(self, deployment: UUID) -> list[FlowRun]:
        """Return the flow runs of a deployment, scheduled ones too."""
        wanted = FlowRunFilter(deployment_id=FlowRunFilterDeploymentId(any_=[deployment]))
        with self.client() as client:
            return client.read_flow_runs(flow_run_filter=wanted)

    def task_runs(self, run: UUID, *names: str) -> list[TaskRun]:
        """Return the task runs of a flow run once those named are final; the server learns of them late."""

        def look() -> list[TaskRun] | None:
            with self.client() as client:
                found = client.read_task_runs(flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=[run])))
            final = {task.name for task in found if task.state is not None and task.state.is_final()}
            return found if set(names) <= final else None

        return wait_until(look, f"task runs {', '.join(names)}", 30)

    def artifacts(self, run: UUID) -> list[Artifact]:
        """Return the artifacts of a flow run and of its task runs."""
        wanted = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[run]))
        with self.client() as client:
            return client.read_artifacts(artifact_filter=wanted)


def run_id(state: State[Any]) -> UUID:
    """Return the flow run that a state belongs to."""
    assert state.state_details.flow_run_id is not None
    return state.state_details.flow_run_id


@contextmanager
def _process(command: list[str], environment: dict[str, str], log: Any) -> Iterator[subprocess.Popen[bytes]]:
    """Run a process in a session of its own and end it by its id; it ends too when pytest is killed."""
    process = subprocess.Popen(
        ["setpriv", "--pdeathsig", "KILL", *command],
        cwd=ROOT,
        env=environment,
        stdout=log,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _is_healthy(server: PrefectServer, process: subprocess.Popen[bytes]) -> bool:
    assert process.poll() is None, f"the server ended: {(server.home / 'server.log').read_text()[-3000:]}"
    try:
        with urllib.request.urlopen(f"{server.api_url}/health", timeout=5) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, TimeoutError, ConnectionError):
        return False
