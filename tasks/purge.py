"""Judge what moves left, remove it file by file, and tell."""

from __future__ import annotations

from collections.abc import Sequence

from prefect import task
from prefect.artifacts import create_markdown_artifact

from tasks._policy import ONCE, READ
from tasks._wiring import settings, world
from vmferry.errors import LeftBehind
from vmferry.model.purge import Fate, LeftFile, PurgeReport
from vmferry.progress import FilesPurged, publish
from vmferry.reporting.purge_words import failed_lines, markdown_purge, purge_headline
from vmferry.steps import purge


@task(**READ, task_run_name="judge what moves left")
def judge_left(hosts: Sequence[str], older_than_days: float | None) -> PurgeReport:
    """Read all hosts and judge every file that is named after a run."""
    days = settings().purge_after_days if older_than_days is None else older_than_days
    return purge.list_left(world(), hosts, days)


@task(**ONCE, task_run_name="remove {file.path} on {file.host}")
def remove_left(file: LeftFile) -> LeftFile:
    """Look once more and remove one file."""
    return purge.remove_left(file, world())


def remove_all(report: PurgeReport) -> PurgeReport:
    """Remove what may go, one file after the other; one that fails stops no other."""
    ended = tuple(remove_left(file) if file.fate is Fate.REMOVABLE else file for file in report.files)
    return report.model_copy(update={"files": ended})


@task(**ONCE, task_run_name="publish purge")
def publish_purge(report: PurgeReport) -> None:
    """Show what was found and what became of it."""
    publish(FilesPurged(report=report))
    create_markdown_artifact(markdown_purge(report), key="purge-files", description=purge_headline(report))


def must_be_whole(report: PurgeReport) -> PurgeReport:
    """Raise LeftBehind when a file could not be removed or a host could not be looked at."""
    if lines := failed_lines(report):
        raise LeftBehind(f"{purge_headline(report)}; {'; '.join(lines)}")
    return report
