"""A Prefect server's objects as things, and things as objects of the server."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from uuid import UUID

import httpx
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.actions import (
    VariableCreate,
    VariableUpdate,
    WorkPoolCreate,
    WorkPoolUpdate,
)
from prefect.client.schemas.objects import DeploymentSchedule
from prefect.client.schemas.responses import DeploymentResponse
from prefect.client.schemas.schedules import CronSchedule, IntervalSchedule, RRuleSchedule
from prefect.events.schemas.automations import AutomationCore
from prefect.exceptions import ObjectNotFound

from tasks.blocks import BLOCKS
from vmferry.deploying.things import Kind, Thing
from vmferry.deploying.wanted import TAG


def present_things(client: SyncPrefectClient, pool: str, queue: str) -> list[Thing]:
    """Return what the server holds of vmferry; reads only."""
    found = [*_blocks(client), *_pool(client, pool, queue), *_variables(client), *_deployments(client)]
    return [*found, *_automations(client)]


def _blocks(client: SyncPrefectClient) -> Iterator[Thing]:
    for block in BLOCKS:
        try:
            client.read_block_type_by_slug(block.get_block_type_slug())
        except ObjectNotFound:
            continue
        yield block_thing(block)


def block_thing(block: Any) -> Thing:
    """Return a type of block; its fields come with the code."""
    return Thing(kind=Kind.BLOCK_TYPE, name=block.get_block_type_slug(), content={})


def _pool(client: SyncPrefectClient, pool: str, queue: str) -> Iterator[Thing]:
    try:
        there = client.read_work_pool(pool)
    except ObjectNotFound:
        return
    content: dict[str, Any] = {"type": there.type, "description": there.description or ""}
    yield Thing(kind=Kind.POOL, name=pool, content=content)
    try:
        line = client.read_work_queue_by_name(queue, work_pool_name=pool)
    except ObjectNotFound:
        return
    content = {"pool": pool, "description": line.description or "", "concurrency_limit": line.concurrency_limit}
    yield Thing(kind=Kind.QUEUE, name=queue, content=content)


def _variables(client: SyncPrefectClient) -> Iterator[Thing]:
    for variable in client.read_variables(limit=200):
        if TAG in (variable.tags or ()):
            yield Thing(kind=Kind.VARIABLE, name=variable.name, content={"value": variable.value})


def _deployments(client: SyncPrefectClient) -> Iterator[Thing]:
    flows: dict[UUID, str] = {}
    for deployment in client.read_deployments(limit=200):
        if TAG in deployment.tags:
            if deployment.flow_id not in flows:
                flows[deployment.flow_id] = client.read_flow(deployment.flow_id).name
            yield _deployment(deployment, flows[deployment.flow_id])


def _deployment(there: DeploymentResponse, flow: str) -> Thing:
    limit, options = there.global_concurrency_limit, there.concurrency_options
    strategy = {"collision_strategy": str(options.collision_strategy.value)} if options else {}
    content = {
        "flow": flow,
        "version": there.version,
        "description": there.description or "",
        "entrypoint": there.entrypoint,
        "work_pool": there.work_pool_name,
        "work_queue": there.work_queue_name,
        "tags": sorted(there.tags),
        "parameters": there.parameters,
        "concurrency": {"limit": limit.limit, **strategy} if limit else {},
        "schedules": {str(schedule.slug or schedule.id): _schedule(schedule) for schedule in there.schedules},
        "job_variables": there.job_variables,
        "pull_steps": there.pull_steps or [],
        "form": there.parameter_openapi_schema or {},
    }
    return Thing(kind=Kind.DEPLOYMENT, name=there.name, content=content)


def _schedule(there: DeploymentSchedule) -> dict[str, Any]:
    shape: dict[str, Any] = {"active": there.active, "timezone": getattr(there.schedule, "timezone", None) or "UTC"}
    match there.schedule:
        case CronSchedule(cron=cron, day_or=day_or):
            shape |= {"cron": cron, "day_or": day_or}
        case RRuleSchedule(rrule=rrule):
            shape |= {"rrule": rrule}
        case IntervalSchedule(interval=interval):
            shape |= {"every_s": interval.total_seconds()}
    return shape | {"parameters": there.parameters}


def _automations(client: SyncPrefectClient) -> Iterator[Thing]:
    answer = client.request("POST", "/automations/filter", json={"limit": 200})
    for there in answer.json():
        if there["name"].startswith(f"{TAG} "):
            yield Thing(kind=Kind.AUTOMATION, name=there["name"], content=automation_content(there))


# Of a trigger: sets, which come in another order from every process.
_SETS = ("after", "expect", "for_each")


def automation_content(given: dict[str, Any]) -> dict[str, Any]:
    """Return an automation with all defaults filled in, and without what the server makes up."""
    whole = AutomationCore.model_validate(given).model_dump(mode="json")
    return {key: _without_ids(value) for key, value in whole.items() if key != "owner_resource"}


def _without_ids(value: Any) -> Any:
    if isinstance(value, dict):
        parts = {key: _without_ids(part) for key, part in value.items() if key != "id"}
        return {key: sorted(part) if key in _SETS and part else part for key, part in parts.items()}
    return [_without_ids(part) for part in value] if isinstance(value, list) else value


def make(client: SyncPrefectClient, thing: Thing) -> None:
    """Create or update one thing; making it again changes nothing."""
    content = thing.content
    match thing.kind:
        case Kind.BLOCK_TYPE:
            block = next(block for block in BLOCKS if block.get_block_type_slug() == thing.name)
            block.register_type_and_schema()
        case Kind.POOL:
            _make_pool(client, thing)
        case Kind.QUEUE:
            _make_queue(client, thing)
        case Kind.VARIABLE:
            try:
                client.create_variable(VariableCreate(name=thing.name, value=content["value"], tags=[TAG]))
            except Exception:
                client.update_variable(VariableUpdate(name=thing.name, value=content["value"], tags=[TAG]))
        case Kind.DEPLOYMENT:
            client.request("POST", "/deployments/", json=_request(client, thing))
        case Kind.AUTOMATION:
            _make_automation(client, thing)


def _make_pool(client: SyncPrefectClient, thing: Thing) -> None:
    from prefect.workers.process import ProcessWorker

    try:
        there = client.read_work_pool(thing.name)
    except ObjectNotFound:
        template = ProcessWorker.get_default_base_job_template()
        client.create_work_pool(WorkPoolCreate(name=thing.name, base_job_template=template, **thing.content))
        return
    update = WorkPoolUpdate(description=thing.content["description"], base_job_template=there.base_job_template)
    client.update_work_pool(thing.name, update)


def _make_queue(client: SyncPrefectClient, thing: Thing) -> None:
    content = thing.content
    wanted = {"description": content["description"], "concurrency_limit": content["concurrency_limit"]}
    try:
        there = client.read_work_queue_by_name(thing.name, work_pool_name=content["pool"])
    except ObjectNotFound:
        client.create_work_queue(thing.name, work_pool_name=content["pool"], **wanted)
        return
    client.update_work_queue(there.id, **wanted)


def _make_automation(client: SyncPrefectClient, thing: Thing) -> None:
    automation = AutomationCore.model_validate(thing.content)
    there = client.read_automations_by_name(thing.name)
    if not there:
        client.create_automation(automation)
    else:
        client.update_automation(there[0].id, automation)


def _request(client: SyncPrefectClient, thing: Thing) -> dict[str, Any]:
    """Return the body of POST /deployments, which creates or replaces by flow and name."""
    content, limit = thing.content, thing.content["concurrency"]
    strategy = {"collision_strategy": limit["collision_strategy"]} if "collision_strategy" in limit else None
    return {
        "name": thing.name,
        "flow_id": str(client.create_flow_from_name(content["flow"])),
        "work_pool_name": content["work_pool"],
        "work_queue_name": content["work_queue"],
        "concurrency_limit": limit.get("limit"),
        "concurrency_options": strategy,
        "parameter_openapi_schema": content["form"],
        "enforce_parameter_schema": True,
        "path": ".",
        "schedules": [_schedule_request(slug, shape) for slug, shape in content["schedules"].items()],
        **{key: content[key] for key in ("version", "description", "entrypoint", "tags", "parameters")},
        **{key: content[key] for key in ("job_variables", "pull_steps")},
    }


def _schedule_request(slug: str, shape: dict[str, Any]) -> dict[str, Any]:
    schedule: dict[str, Any] = {"timezone": shape["timezone"]}
    if "cron" in shape:
        schedule |= {"cron": shape["cron"], "day_or": shape["day_or"]}
    elif "rrule" in shape:
        schedule |= {"rrule": shape["rrule"]}
    else:
        schedule |= {"interval": shape["every_s"]}
    return {"slug": slug, "active": shape["active"], "parameters": shape["parameters"], "schedule": schedule}


def remove(client: SyncPrefectClient, thing: Thing) -> None:
    """Remove a thing that is no longer wanted."""
    match thing.kind:
        case Kind.DEPLOYMENT:
            client.delete_deployment(client.read_deployment_by_name(f"{thing.content['flow']}/{thing.name}").id)
        case Kind.AUTOMATION:
            for automation in client.read_automations_by_name(thing.name):
                client.delete_automation(automation.id)
        case Kind.VARIABLE:
            client.delete_variable_by_name(thing.name)
        case _:
            return


def block_id(client: SyncPrefectClient, reference: str) -> str | None:
    """Return the id of `type/name`; None when there is no such block."""
    kind, _, name = reference.partition("/")
    try:
        return str(client.read_block_document_by_name(name, kind).id)
    except (ObjectNotFound, httpx.HTTPStatusError):
        return None
