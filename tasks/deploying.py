"""Bring a Prefect server to what vmferry needs there: what differs is told first, and doing it again does nothing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from prefect import get_client
from prefect.client.orchestration import SyncPrefectClient

from tasks._deploy_files import DeployFiles, live, pinned_to
from tasks._server_side import automation_content, block_id, block_thing, make, present_things, remove
from tasks.blocks import BLOCKS, PREFIX, inventory_file
from vmferry.deploying.things import Change, ChangeKind, Kind, Thing, compare
from vmferry.deploying.wanted import automation_things, read_site
from vmferry.errors import InvalidInput
from vmferry.inventory import load_inventory
from vmferry.model.base import Model
from vmferry.model.site import Site


class Deploying(Model):
    """What would be changed, and what an operator should know."""

    changes: tuple[Change, ...]
    notes: tuple[str, ...]

    @property
    def is_needed(self) -> bool:
        """Whether anything would be created or updated."""
        return any(change.kind in (ChangeKind.CREATE, ChangeKind.UPDATE) for change in self.changes)


def plan_deploying(
    root: Path, inventory: str, site_file: Path | None, *, repository: str | None, is_live: bool, state_dir: Path
) -> Deploying:
    """Compare the server with the files; reads only. Raises InvalidInput with all problems of the site file."""
    files = DeployFiles(root, live(root) if is_live else None)
    if repository is not None:
        files.pull = pinned_to(repository, files.commit)
    site = read_site(site_file, list(files.entries))
    is_block = inventory.startswith(PREFIX)
    path = inventory_file(inventory.removeprefix(PREFIX), state_dir) if is_block else Path(inventory)
    deployments, notes = files.things(site, load_inventory(path), inventory if is_block else "")
    if files.is_dirty and not is_live:
        notes.append(f"{root} has changes that are not committed: runs use commit {files.commit[:12]} without them")
    with get_client(sync_client=True) as client:
        written = sorted((root / "deployments" / "automations").glob("*.yaml"))
        automations, more = automation_things(written, _pager(client, site))
        wanted = [*_around(files, site), *deployments, *map(_whole, automations)]
        present = present_things(client, files.pool["name"], files.queue["name"])
    wanted = [_keep_paused(thing, present, site) for thing in wanted]
    return Deploying(changes=compare(wanted, present), notes=(*notes, *more))


def _around(files: DeployFiles, site: Site) -> Iterator[Thing]:
    """Yield what the deployments need."""
    for block in BLOCKS:
        yield block_thing(block)
    pool, queue = files.pool, files.queue
    yield Thing(kind=Kind.POOL, name=pool["name"], content={"type": "process", "description": pool["description"]})
    content = {"pool": pool["name"], "description": queue["description"], "concurrency_limit": site.fleet_runs}
    yield Thing(kind=Kind.QUEUE, name=queue["name"], content=content)
    for name, value in site.variables.items():
        yield Thing(kind=Kind.VARIABLE, name=name, content={"value": value})


def _whole(thing: Thing) -> Thing:
    return thing.model_copy(update={"content": automation_content(thing.content)})


def _pager(client: SyncPrefectClient, site: Site) -> tuple[str, str] | None:
    if site.pager is None:
        return None
    found = block_id(client, site.pager)
    if found is None:
        raise InvalidInput(
            f"pager: there is no block {site.pager} on the server; make it in the UI (Blocks, +); `prefect block ls` "
            "shows those that are there"
        )
    return site.pager.partition("/")[0], found


def _keep_paused(thing: Thing, present: list[Thing], site: Site) -> Thing:
    """Leave a schedule that somebody paused or started by hand as it is, unless the site file has one of that name."""
    there = next((p for p in present if (p.kind, p.name) == (thing.kind, thing.name)), None)
    if thing.kind is not Kind.DEPLOYMENT or there is None:
        return thing
    own = {schedule.slug for schedule in site.schedules.get(thing.name, ())}
    before: dict[str, Any] = there.content["schedules"]
    kept = {
        slug: shape | {"active": before[slug]["active"]} if slug in before and slug not in own else shape
        for slug, shape in thing.content["schedules"].items()
    }
    return thing.model_copy(update={"content": thing.content | {"schedules": kept}})


def apply_changes(changes: tuple[Change, ...], *, is_pruning: bool) -> Iterator[Change]:
    """Make the changes one after the other, and yield each when it is made; extra things go only when pruning."""
    with get_client(sync_client=True) as client:
        for change in changes:
            if change.kind in (ChangeKind.CREATE, ChangeKind.UPDATE):
                make(client, change.thing)
            elif change.kind is ChangeKind.EXTRA and is_pruning:
                remove(client, change.thing)
            else:
                continue
            yield change
