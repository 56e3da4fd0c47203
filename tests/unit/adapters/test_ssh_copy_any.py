"""Any sparse file over anything that stood there before ends equal and no less sparse: both ends run without ssh."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.examples import examples
from vmferry.adapters.ferry import program
from vmferry.adapters.ssh_program import module_texts, program_payload

KIB = 1024
# Begin and length in KiB, and what fills it: zeros that are written are data to the file system.
Run = tuple[int, int, bytes]
RUNS = st.lists(st.tuples(st.integers(0, 3000), st.integers(1, 1500), st.sampled_from([b"\0", b"a", b"b"])), max_size=5)
SIZES = st.one_of(st.just(0), st.integers(1, 3 * 1024 * KIB), st.sampled_from([1, 4096, 65537, 2**20, 2**20 + 1]))
BLOCK = 4 * KIB


def write(path: Path, size: int, runs: list[Run]) -> None:
    with path.open("wb") as file:
        for begin, length, fill in runs:
            file.seek(begin * KIB)
            file.write(fill * (length * KIB))
        file.truncate(size)


def copy(image: Path, staging: Path) -> dict[str, int]:
    """Run the two ends on this machine; return what the source said of the end."""
    order: dict[str, object] = {
        "path": str(image),
        "staging": str(staging),
        "ssh": ["sh", "-c"],
        "session": "1",
        "streams": 2,
        "bytes_s": 0,
        "digest": "crc32",
        "patience_s": 10,
        "is_device": False,
        "keeps_owner": False,
    }
    payload = program_payload(("send", "main"), order)
    argv = [sys.executable, "-I", "-S", "-c", program.BOOT, str(len(payload)), "vmferry-send", str(image)]
    assert module_texts()
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write(payload)
        process.stdin.flush()
        told = [json.loads(line) for line in process.stdout]
    assert "done" in told[-1], told[-1]
    done: dict[str, int] = told[-1]["done"]
    return done


@settings(examples(20), suppress_health_check=[HealthCheck.too_slow])
@example(0, [], [(0, 100, b"a")], 50_000)
@example(3_000_000, [(0, 2900, b"\0")], [(0, 1000, b"a"), (1000, 500, b"\0")], 2_000_000)
@example(1_000_001, [(64, 900, b"a")], [], None)
@given(SIZES, RUNS, RUNS, st.one_of(st.none(), SIZES))
def test_any_file_over_any_remains_is_equal_and_sparse(
    size: int, runs: list[Run], remains: list[Run], had: int | None
) -> None:
    with TemporaryDirectory(dir="/var/tmp") as name:
        image, staging = Path(name) / "image", Path(name) / ".vmferry-run" / "image"
        write(image, size, runs)
        if had is not None:
            staging.parent.mkdir(mode=0o700)
            write(staging, had, remains)
        copy(image, staging)
        assert staging.read_bytes() == image.read_bytes()
        # Blocks at the edges of a hole may stay allocated; so may zeros that stood in both.
        spare = 2 * BLOCK * (2 * len(runs) + 2 * len(remains) + 2)
        assert staging.stat().st_blocks * 512 <= image.stat().st_blocks * 512 + spare
        again = copy(image, staging)
        assert again["sent"] == 0
