"""What the files of a checkout, the site file and the inventory want of a Prefect server."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from vmferry.deploying.things import Kind, Thing
from vmferry.errors import InvalidInput
from vmferry.inventory.problems import did_you_mean
from vmferry.model.base import Model
from vmferry.model.site import Site, SiteSchedule

NO_BLOCK = "00000000-0000-0000-0000-000000000000"  # in an automation: the pager's block, known at deploy time
TAG = "vmferry"


class Wanted(Model):
    """What the server should hold, and what the files say but this site cannot have."""

    things: tuple[Thing, ...]
    notes: tuple[str, ...] = ()


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a file that holds a mapping; raises InvalidInput."""
    try:
        data = YAML(typ="safe").load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, YAMLError) as error:
        raise InvalidInput(f"{path}: cannot be read: {' '.join(str(error).split())}") from error
    if not isinstance(data, dict):
        raise InvalidInput(f"{path}: must be a mapping; see deployments/site.example.yaml")
    return data


def read_site(path: Path | None, deployments: Sequence[str]) -> Site:
    """Read the site file; an empty site where there is none. Raises InvalidInput with all problems at once."""
    if path is None:
        return Site()
    try:
        site = Site.model_validate(read_yaml(path))
    except ValidationError as error:
        problems = tuple(
            f"{path}: {'.'.join(str(part) for part in e['loc'])}: {e['msg'].removeprefix('Value error, ')}"
            for e in error.errors()
        )
        raise InvalidInput("; ".join(problems), problems=problems) from error
    unknown = dict.fromkeys(name for name in [*site.schedules, *site.parameters] if name not in deployments)
    problems = tuple(f"{path}: there is no deployment {n}; {did_you_mean(n, deployments)}" for n in unknown)
    if problems:
        raise InvalidInput("; ".join(problems), problems=problems)
    return site


def merge_schedules(entry: Mapping[str, Any], own: Sequence[SiteSchedule]) -> dict[str, dict[str, Any]]:
    """Return slug → schedule of a deployment: what vmferry brings, over it what the site says."""
    merged = {str(given["slug"]): _shape(given) for given in entry.get("schedules") or ()}
    return merged | {mine.slug: _shape(mine.model_dump(exclude_none=True)) | {"is_own": True} for mine in own}


def _shape(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return a schedule in the one shape in which wanted and present ones are compared."""
    shape: dict[str, Any] = {"active": bool(given.get("active", True)), "timezone": given.get("timezone", "UTC")}
    if given.get("cron") is not None:
        shape |= {"cron": given["cron"], "day_or": bool(given.get("day_or", True))}
    elif given.get("rrule") is not None:
        shape |= {"rrule": given["rrule"]}
    else:
        shape |= {"every_s": float(given.get("every_s") or given["interval"])}
    return shape | {"parameters": dict(given.get("parameters") or {})}


def wrong_values(schema: Mapping[str, Any], given: Mapping[str, Any]) -> tuple[str, ...]:
    """Return what of some parameters the form of a deployment would refuse: unknown names, and unknown choices."""
    properties: Mapping[str, Any] = schema.get("properties", {})
    problems = []
    for name, value in given.items():
        if name not in properties:
            problems.append(f"there is no parameter {name}; {did_you_mean(name, properties)}")
            continue
        choices = _choices(properties[name])
        values = value if isinstance(value, list | tuple) else [value]
        wrong = [one for one in values if choices and one is not None and one not in choices]
        problems += [f"{name}: {one!r} is not one of {', '.join(map(str, choices))}" for one in wrong]
    return tuple(problems)


def _choices(field: Mapping[str, Any]) -> tuple[Any, ...]:
    for kind in (field, *field.get("anyOf", ())):
        found = kind.get("enum") or kind.get("items", {}).get("enum")
        if found:
            return tuple(found)
    return ()


def fit_schedules(
    name: str, schedules: Mapping[str, dict[str, Any]], refused: Callable[[Mapping[str, Any]], Sequence[str]]
) -> tuple[dict[str, dict[str, Any]], list[str], list[str]]:
    """Return the schedules that this site can have, notes for examples that it cannot, problems for its own.

    `refused` tells what the form would refuse of some parameters. An example that names hosts of another inventory is
    left out as long as it is not active.
    """
    fitting: dict[str, dict[str, Any]] = {}
    notes: list[str] = []
    problems: list[str] = []
    for slug, given in schedules.items():
        shape = {key: value for key, value in given.items() if key != "is_own"}
        wrong = refused(shape["parameters"])
        text = f"deployment {name}: schedule {slug}: {'; '.join(wrong)}"
        if not wrong:
            fitting[slug] = shape
        elif given.get("is_own") or shape["active"]:
            problems.append(text)
        else:
            notes.append(f"{text}: this example is left out")
    return fitting, notes, problems


def automation_things(files: Sequence[Path], pager: tuple[str, str] | None) -> tuple[list[Thing], list[str]]:
    """Return the automations, with the pager's block (its type, its id) put in.

    Without a pager those that call it stay out; a note tells which.
    """
    things, left_out = [], []
    for path in files:
        content = read_yaml(path)
        calls = [action for action in content["actions"] if action.get("block_document_id") == NO_BLOCK]
        if calls and pager is None:
            left_out.append(content["name"])
            continue
        for action in calls:
            _call(action, content["name"], *(pager or ("", "")))
        things.append(Thing(kind=Kind.AUTOMATION, name=content["name"], content=content))
    why = "they call a pager: name its block in the site file (deployments/site.example.yaml)"
    return things, [f"automations left out: {', '.join(left_out)}: {why}"] if left_out else []


def _call(action: dict[str, Any], subject: str, block_type: str, block: str) -> None:
    """Let an action call the pager: a webhook with a payload, anything else by a notification."""
    action["block_document_id"] = block
    if block_type != "webhook":
        body = action.pop("payload")
        action.update(type="send-notification", subject=subject, body=body)
