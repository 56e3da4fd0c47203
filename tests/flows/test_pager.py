"""The automation of deployments/ on a real server: a run that is HELD calls the pager, with what to type."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from prefect.blocks.webhook import Webhook

from flows.migrate_vm import migrate_vm
from tests.flows.yard import Yard
from tests.prefect_side import ROOT, PrefectServer, wait_until
from vmferry.adapters.simulated import Blow

pytestmark = [pytest.mark.prefect, pytest.mark.usefixtures("prefect")]


@pytest.fixture
def calls() -> Iterator[tuple[str, list[str]]]:
    """Return the URL of a pager, and what it was called with."""
    heard: list[str] = []

    class Pager(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            heard.append(self.rfile.read(int(self.headers["Content-Length"])).decode())
            self.send_response(204)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Pager)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/", heard
    server.shutdown()
    server.server_close()


def test_a_held_run_calls_the_pager_once(
    yard: Yard, prefect: PrefectServer, calls: tuple[str, list[str]], tmp_path: Path
) -> None:
    url, heard = calls
    block = Webhook(url=url).save("pager", overwrite=True)
    text = (ROOT / "deployments/automations/page-when-held.yaml").read_text()
    file = tmp_path / "page.yaml"
    file.write_text(text.replace("00000000-0000-0000-0000-000000000000", str(block)))
    prefect.command("automation", "create", "--from-file", str(file))
    try:
        yard.add("wanderer1")
        yard.add("wanderer2")
        yard.break_at(Blow.ISOLATED, op="migrate", phase="arrived", target="kvm2")
        with yard.process():
            assert migrate_vm("wanderer1", "kvm2", return_state=True).is_failed()
            assert migrate_vm("wanderer2", "kvm3", return_state=True).is_completed()
        (call,) = wait_until(lambda: list(heard), "the pager is called")
    finally:
        prefect.command("automation", "delete", "vmferry page when held")
    assert "wanderer1 (kvm1 → kvm2) is HELD" in call and "vmferry recover" in call
