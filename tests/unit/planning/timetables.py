"""Requests for timetables, built and drawn."""

from __future__ import annotations

from hypothesis import strategies as st

from vmferry.model.timetable import Job, Pace, Site, TimetableRequest


def build_job(name: str, source: str, dest: str, seconds: float = 10.0, mib_s: float = 0.0, **more: object) -> Job:
    paces = (Pace(seconds=seconds, mib_s=mib_s),)
    return Job.model_validate({"uuid": f"u-{name}", "vm": name, "source": source, "dest": dest, "paces": paces} | more)


def sized(name: str, source: str, dest: str, size: int, seconds: float = 10.0, **more: object) -> Job:
    return build_job(name, source, dest, seconds, takes={"memory": size}, gives={"memory": size}, **more)


def hosts(*names: str, **more: object) -> tuple[Site, ...]:
    return tuple(Site.model_validate({"host": name} | more) for name in names)


@st.composite
def requests(draw: st.DrawFn) -> TimetableRequest:
    """Draw hosts short of room, links, limits, windows, precedences and running moves."""
    names = [f"h{i}" for i in range(draw(st.integers(2, 5)))]
    small, link = st.integers(0, 8), st.none() | st.floats(5, 50)
    sites = [
        Site(host=name, room={"memory": draw(small)}, outgoing=draw(st.integers(1, 3)),
             incoming=draw(st.integers(1, 3)), out_mib_s=draw(link), in_mib_s=draw(link))
        for name in names
    ]  # fmt: skip
    jobs: list[Job] = []
    for number in range(draw(st.integers(0, 9))):
        source, dest = draw(st.permutations(names))[:2]
        seconds, mib_s, size = draw(st.floats(0.5, 20)), draw(st.floats(0, 40)), draw(st.integers(0, 5))
        slower = (Pace(seconds=2 * seconds, mib_s=mib_s / 2),) if draw(st.booleans()) else ()
        runs = draw(st.sampled_from([False, False, False, True]))
        jobs.append(
            Job(uuid=f"u{number}", vm=f"vm{number}", source=source, dest=dest,
                paces=(Pace(seconds=seconds, mib_s=mib_s), *slower),
                takes={} if runs else {"memory": size}, gives={"memory": size},
                opens_s=0 if runs else draw(st.sampled_from([0, 0, 3])),
                closes_s=draw(st.sampled_from([None, None, 60])),
                after=tuple(job.uuid for job in jobs if draw(st.integers(0, 9)) == 0) if not runs else (),
                alone_in=draw(st.sampled_from([None, None, "g"])) if not runs else None,
                is_running=runs, hops=tuple(names) if draw(st.booleans()) else ())
        )  # fmt: skip
    closes = draw(st.sampled_from([None, None, 30.0]))
    return TimetableRequest(
        jobs=tuple(jobs), sites=tuple(sites), max_parallel=draw(st.integers(1, 6)), tries=20, closes_s=closes
    )
