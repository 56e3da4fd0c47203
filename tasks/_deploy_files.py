"""Read deployments/prefect.yaml as `prefect deploy` does: steps, templates, flows and their forms."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from prefect.client.schemas.schedules import CronSchedule, RRuleSchedule
from prefect.deployments.steps.core import run_steps
from prefect.flows import Flow, load_flow_from_entrypoint
from prefect.utilities.callables import parameter_schema
from prefect.utilities.schema_tools.validation import validate
from prefect.utilities.templating import apply_values
from pydantic import ValidationError

from vmferry.deploying.forms import dress
from vmferry.deploying.things import Kind, Thing
from vmferry.deploying.wanted import fit_schedules, merge_schedules, read_yaml, wrong_values
from vmferry.errors import InvalidInput
from vmferry.model.host import Inventory
from vmferry.model.site import Site
from vmferry.rules.table import BY_ID


class DeployFiles:
    """The deployments of a checkout, with the outputs of their build steps filled in."""

    def __init__(self, root: Path, pull: list[dict[str, Any]] | None = None) -> None:
        self._root = root
        raw = read_yaml(root / "deployments" / "prefect.yaml")
        outputs = asyncio.run(run_steps(raw["build"], print_function=_silently))
        filled: Any = apply_values(raw, outputs, remove_notset=False)
        self.commit = str(outputs["sha"]["stdout"])
        self.is_dirty = str(outputs["commit"]["stdout"]).endswith("-dirty")
        self.pull: list[dict[str, Any]] = pull if pull is not None else filled["pull"]
        self.pool: dict[str, Any] = filled["x-process"]
        self.queue: dict[str, Any] = filled["x-fleet-queue"]
        self.entries: dict[str, dict[str, Any]] = {entry["name"]: entry for entry in filled["deployments"]}

    def things(self, site: Site, inventory: Inventory, default_inventory: str) -> tuple[list[Thing], list[str]]:
        """Return a thing per deployment, and notes; raises InvalidInput with every problem of the site file."""
        found, notes, problems = [], [], []
        liftable = sorted(name for name, rule in BY_ID.items() if not rule.is_final)
        for name, entry in self.entries.items():
            flow: Flow[..., Any] = load_flow_from_entrypoint(str(self._root / entry["entrypoint"]))
            plain = parameter_schema(flow).model_dump_for_openapi()
            schema = dress(plain, inventory.names(), liftable)
            parameters = {**(entry.get("parameters") or {}), **site.parameters.get(name, {})}
            problems += [f"deployment {name}: {wrong}" for wrong in _refused(schema, parameters)]
            if default_inventory and "inventory" in schema["properties"]:
                parameters.setdefault("inventory", default_inventory)
            merged = merge_schedules(entry, site.schedules.get(name, ()))
            problems += [f"deployment {name}: schedule {slug}: {wrong}" for slug, wrong in _wrong_times(merged)]
            schedules, told, wrong = fit_schedules(name, merged, partial(_refused, schema))
            notes += told
            problems += wrong
            found.append(self._thing(entry, flow.name, schema, parameters, schedules))
        if problems:
            raise InvalidInput("; ".join(problems), problems=tuple(problems))
        return found, notes

    def _thing(
        self,
        entry: Mapping[str, Any],
        flow: str,
        schema: dict[str, Any],
        parameters: dict[str, Any],
        schedules: dict[str, dict[str, Any]],
    ) -> Thing:
        pool = entry["work_pool"]
        limit = entry.get("concurrency_limit") or {}
        content = {
            "flow": flow,
            "version": entry["version"],
            "description": entry["description"],
            "entrypoint": entry["entrypoint"],
            "work_pool": pool["name"],
            "work_queue": pool.get("work_queue_name", "default"),
            "tags": sorted(entry["tags"]),
            "parameters": parameters,
            "concurrency": dict(limit),
            "schedules": schedules,
            "job_variables": pool["job_variables"],
            "pull_steps": self.pull,
            "form": schema,
        }
        return Thing(kind=Kind.DEPLOYMENT, name=entry["name"], content=content)


def _refused(schema: dict[str, Any], parameters: Mapping[str, Any]) -> tuple[str, ...]:
    """Return what the server would refuse of some parameters: in our words where a name or a choice is wrong."""
    found = wrong_values(schema, parameters)
    errors = () if found else validate(dict(parameters), schema, ignore_required=True, allow_none_with_default=True)
    return found or tuple(f"{'.'.join(map(str, error.path)) or 'parameters'}: {error.message}" for error in errors)


def _wrong_times(schedules: Mapping[str, Mapping[str, Any]]) -> Iterator[tuple[str, str]]:
    for slug, shape in schedules.items():
        try:
            if "cron" in shape:
                CronSchedule(cron=shape["cron"], timezone=shape["timezone"])
            elif "rrule" in shape:
                RRuleSchedule(rrule=shape["rrule"], timezone=shape["timezone"])
        except ValidationError as error:
            yield slug, "; ".join(e["msg"].removeprefix("Value error, ") for e in error.errors())


def pinned_to(repository: str, commit: str) -> list[dict[str, Any]]:
    """Return the pull step for workers on other machines: this commit of a repository that they all reach."""
    return [{"prefect.deployments.steps.git_clone": {"repository": repository, "commit_sha": commit}}]


def live(root: Path) -> list[dict[str, Any]]:
    """Return the pull step that runs a checkout as it is at that moment."""
    return [{"prefect.deployments.steps.set_working_directory": {"directory": str(root)}}]


def _silently(*_said: object, **_how: object) -> None:
    return
