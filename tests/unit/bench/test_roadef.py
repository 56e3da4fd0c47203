"""The challenge's files: read, refused with every fault and its line, written; and the command that solves one."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from tests.bench.roadef.format import read_assignment, read_problem, write_assignment
from tests.unit.solver.reassignment.problems import random_problem, tiny
from vmferry.errors import InvalidInput
from vmferry.solver.reassignment import Problem
from vmferry.solver.reassignment.audit import cost_of, violations

MODEL = """2
0 10
1 1
2
0 0 10 10 6 9 0 4
0 1 12 12 10 10 5 0
2
0 0
0 1 0
3
0 4 2 1
0 3 1 2
1 5 6 3
1
0 1 2
3
1 10 100
"""
ROOT = Path(__file__).resolve().parents[3]


def _files(room: Path, model: str = MODEL, assignment: str = "0 1 0\n") -> tuple[Path, Path]:
    paths = room / "model.txt", room / "assignment.txt"
    for path, text in zip(paths, (model, assignment), strict=True):
        path.write_text(text)
    return paths


def _model_text(p: Problem) -> str:
    """Write a model as the challenge's description says, line by line."""
    lines = [[p.resources], *zip(p.is_transient, p.load_weight, strict=True), [p.machines]]
    for m in range(p.machines):
        lines.append([p.neighborhood[m], p.location[m], *p.capacity[m], *p.safety[m], *p.machine_move_cost[m]])
    lines.append([p.services])
    for s in range(p.services):
        needs = p.dependencies[p.dependencies[:, 0] == s, 1]
        lines.append([p.spread_min[s], len(needs), *needs])
    lines.append([p.processes])
    lines += [[p.service[i], *p.usage[i], p.process_move_cost[i]] for i in range(p.processes)]
    lines.append([len(p.balances)])
    for first, second, target, weight in p.balances:
        lines += [[first, second, target], [weight]]
    lines.append(list(p.weights))
    return "\n".join(" ".join(map(str, line)) for line in lines) + "\n"


def test_a_model_is_read_as_the_description_says(tmp_path: Path) -> None:
    read, made = read_problem(*_files(tmp_path)), tiny(dependencies=[[1, 0]])
    for name in Problem.__dataclass_fields__:
        assert np.array_equal(getattr(read, name), getattr(made, name)), name


def test_what_was_written_is_read_again(tmp_path: Path) -> None:
    problem = random_problem(5)
    write_assignment(tmp_path / "new.txt", problem.initial)
    model, _ = _files(tmp_path, _model_text(problem))
    read = read_problem(model, tmp_path / "new.txt")
    for name in Problem.__dataclass_fields__:
        assert np.array_equal(getattr(read, name), getattr(problem, name)), name
    assert [path.name for path in tmp_path.iterdir() if path.suffix == ".part"] == []


def test_several_faults_are_told_with_their_lines(tmp_path: Path) -> None:
    text = MODEL.replace("\n1 5 6 3\n", "\n7 5 -6 3\n").replace("\n1 1\n", "\n2 1\n")
    with pytest.raises(InvalidInput) as caught:
        read_problem(*_files(tmp_path, text))
    assert caught.value.problems == (
        "line 3: resource 1: transient is 2, needs 0 to 1",
        "line 13: process 2: requirement is -6, needs 0 to 1099511627776",
        "line 13: process 2: service is 7, needs 0 to 1",
    )


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "holds no numbers"),
        (MODEL.replace("\n0 10\n", "\n0 ten\n"), "line 2: 'ten' is no whole number"),
        (MODEL.replace("\n0 10\n", "\n0 1.5\n"), "line 2: '1.5' is no whole number"),
        (MODEL[:30], "the file ends, but machine"),
        (MODEL + "5 5\n", "line 18: 2 more numbers than the file says it has"),
        ("0\n", "line 1: number of resources is 0, needs 1 to"),
        (MODEL.replace("\n0 1 0\n", "\n0 1 4\n"), "line 9: dependency 0: service that 1 depends on is 4, needs 0 to 1"),
        (MODEL.replace("\n0 1 2\n3", "\n0 2 2\n3"), "line 15: balance 0: resource is 2, needs 0 to 1"),
        (MODEL.replace("\n3\n0 4", "\n99999999999\n0 4"), "line 10: number of processes is 99999999999"),
    ],
)
def test_a_malformed_model_is_refused(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        read_problem(*_files(tmp_path, text))
    assert words in str(caught.value)


def test_an_assignment_of_unknown_machines_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="line 1: assignment 0: machine is 2, needs 0 to 1"):
        read_problem(*_files(tmp_path, assignment="0 2 0\n"))
    with pytest.raises(InvalidInput, match="needs 1 more numbers"):
        read_problem(*_files(tmp_path, assignment="0 1\n"))


def _command(room: Path, seconds: str) -> list[str]:
    argv = [sys.executable, "-m", "tests.bench.roadef", "--model", str(room / "model.txt")]
    return [*argv, "--assignment", str(room / "assignment.txt"), "--seconds", seconds, "--out", str(room / "new.txt")]


def _judge(room: Path, stdout: str, problem: Problem) -> None:
    told = json.loads(stdout)
    machine_of = read_assignment(room / "new.txt", problem.processes, problem.machines)
    assert violations(problem, machine_of) == ()
    assert told["cost"] == cost_of(problem, machine_of).total <= cost_of(problem, problem.initial).total
    parts = ("load", "balance", "process_move", "service_move", "machine_move")
    assert told["cost"] == sum(told[part] for part in parts)
    assert told["violations"] == []


def test_the_command_writes_an_assignment_and_one_line_of_json(tmp_path: Path) -> None:
    problem = random_problem(9)
    _files(tmp_path, _model_text(problem), " ".join(map(str, problem.initial)))
    done = subprocess.run(_command(tmp_path, "4"), cwd=ROOT, capture_output=True, text=True, check=True)
    _judge(tmp_path, done.stdout, problem)


def test_sigterm_ends_the_command_with_its_best(tmp_path: Path) -> None:
    problem = random_problem(9)
    _files(tmp_path, _model_text(problem), " ".join(map(str, problem.initial)))
    running = subprocess.Popen(_command(tmp_path, "3600"), cwd=ROOT, stdout=subprocess.PIPE, text=True)
    while b"\0tests.bench.roadef\0" not in Path(f"/proc/{running.pid}/cmdline").read_bytes() or not _is_ready(
        running.pid
    ):
        time.sleep(0.05)
    running.terminate()
    stdout, _ = running.communicate(timeout=120)
    assert running.returncode == 0
    _judge(tmp_path, stdout, problem)


def _is_ready(pid: int) -> bool:
    """Whether the process has a handler for SIGTERM."""
    status = Path(f"/proc/{pid}/status").read_text()
    caught = next(int(line.split()[1], 16) for line in status.splitlines() if line.startswith("SigCgt"))
    return bool(caught >> (signal.SIGTERM - 1) & 1)


def test_wrong_files_end_with_exit_code_1_and_every_fault(tmp_path: Path) -> None:
    _files(tmp_path, MODEL.replace("\n1 5 6 3\n", "\n7 5 -6 3\n"))
    done = subprocess.run(_command(tmp_path, "5"), cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.count("error: line 13") == 2
    assert not (tmp_path / "new.txt").exists()
