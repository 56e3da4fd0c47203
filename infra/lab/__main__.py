"""Run the lab's commands: `python -m infra.lab`."""

from infra.lab.cli import app

app(prog_name="vmferry lab")
