"""Plans as files: one JSON document with the snapshot, equal bytes for equal plans; and two of them compared. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator

from pydantic import ValidationError

from vmferry.errors import InvalidInput
from vmferry.model.plan import FleetPlan

_FORMAT = "vmferry-plan-1"


def write_plan(plan: FleetPlan) -> str:
    """Return the plan's file: keys sorted, so that the same plan is the same bytes."""
    document = {"format": _FORMAT, "plan": plan.model_dump(mode="json")}
    return json.dumps(document, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def parse_plan(text: str, name: str) -> FleetPlan:
    """Return the plan of a file. Raises InvalidInput with what is wrong with it."""
    try:
        document = json.loads(text)
    except ValueError as error:
        raise InvalidInput(f"{name}: is not JSON: {error}; plans are written by `vmferry plan … --out FILE`") from error
    if not isinstance(document, dict) or document.get("format") != _FORMAT:
        raise InvalidInput(
            f"{name}: is no plan of this version ({_FORMAT}); make it anew by `vmferry plan … --out FILE`"
        )
    try:
        return FleetPlan.model_validate_json(json.dumps(document.get("plan")))
    except ValidationError as error:
        problems = tuple(
            f"{name}: {'.'.join(map(str, detail['loc']))}: {detail['msg']}"
            for detail in error.errors(include_url=False)
        )
        raise InvalidInput("; ".join(problems[:3]), problems=problems) from error


def diff_plans(old: FleetPlan, new: FleetPlan) -> tuple[str, ...]:
    """Return what differs, in an operator's words: request, who goes elsewhere, who is stranded, the score."""
    return tuple([*_requests(old, new), *_moves(old, new), *_stranded(old, new), *_scores(old, new)])


def _requests(old: FleetPlan, new: FleetPlan) -> Iterator[str]:
    before, after = old.request.model_dump(mode="json"), new.request.model_dump(mode="json")
    yield from (
        f"request: {field}: {before[field]} → {after[field]}" for field in before if before[field] != after[field]
    )
    if old.snapshot.taken_at != new.snapshot.taken_at:
        yield f"snapshot: {old.snapshot.taken_at:%Y-%m-%d %H:%M:%S} → {new.snapshot.taken_at:%Y-%m-%d %H:%M:%S} UTC"
    gone, come = set(old.constraints) - set(new.constraints), set(new.constraints) - set(old.constraints)
    yield from (f"constraint: no longer {text}" for text in sorted(c.words() for c in gone))
    yield from (f"constraint: new {text}" for text in sorted(c.words() for c in come))


def _moves(old: FleetPlan, new: FleetPlan) -> Iterator[str]:
    before, after = {m.uuid: m for m in old.moves}, {m.uuid: m for m in new.moves}
    for uuid in sorted(before.keys() | after.keys(), key=lambda u: ((before.get(u) or after[u]).vm, u)):
        was, now = before.get(uuid), after.get(uuid)
        if was is None and now is not None:
            yield f"vm {now.vm}: now moves {now.source} → {now.dest}: {now.dest_reason}"
        elif was is not None and now is None:
            yield f"vm {was.vm}: no longer moves {was.source} → {was.dest}"
        elif was is not None and now is not None and (was.source, was.dest) != (now.source, now.dest):
            yield f"vm {now.vm}: {was.source} → {was.dest} becomes {now.source} → {now.dest}: {now.dest_reason}"


def _stranded(old: FleetPlan, new: FleetPlan) -> Iterator[str]:
    before, after = {s.uuid: s for s in old.stranded}, {s.uuid: s for s in new.stranded}
    for uuid in sorted(after.keys() - before.keys()):
        why = after[uuid].explanation
        yield f"vm {after[uuid].vm}: now stranded: {why.words() if why else after[uuid].summary()}"
    yield from (f"vm {before[uuid].vm}: no longer stranded" for uuid in sorted(before.keys() - after.keys()))


def _scores(old: FleetPlan, new: FleetPlan) -> Iterator[str]:
    before, after = old.score.model_dump(mode="json"), new.score.model_dump(mode="json")
    yield from (
        f"score: {field}: {before[field]} → {after[field]}" for field in before if before[field] != after[field]
    )
