"""What a mission costs: N independent files against a strict scripted endpoint in another process.

    python tests/bench/bench_mission.py --files 50 --latency-s 0.2
    python tests/bench/bench_mission.py --long

Prints the wall time against the critical path (turns that must follow one another, times the latency), the
CPU of orch's own process per turn (its children are the Reviewers' commands, and counted apart), the peak
of its memory, and what the endpoint saw. `--long` is one session of 200 turns that grows to 1 MB of history.
The figures are of the machine it runs on; nothing is asserted.
"""

import argparse
import json
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.endpoint import Step, Turn

LATENCY_S = float(os.environ.get("BENCH_LATENCY_S", "0.2"))
FILES = int(os.environ.get("BENCH_FILES", "50"))
LONG_TURNS = 200
LONG_PAGE_CHARS = 4_800
ENDPOINT_START_S = 10.0
CRITICAL_PATH = ("commander", "planner", *["worker"] * 3, *["reviewer"] * 3, "commander")


def mission(turn: Turn) -> Step:
    """Play every role of a mission of independent files."""
    role = re.match(r"You are the (\w+)\.", turn.system)
    assert role is not None
    answer = {"Commander": _commander, "Planner": _planner, "Worker": _worker, "Reviewer": _reviewer}
    step = answer[role[1]](turn)
    return Step(text=step.text, tool_calls=step.tool_calls, delay_s=LATENCY_S)


def _commander(turn: Turn) -> Step:
    if turn.number == 0:
        call = {"agent": "planner", "description": "plan", "prompt": "Plan one file each."}
        return Step(tool_calls=[("delegate_task", call)])
    if turn.messages[-1]["role"] == "tool":
        return Step(text="The planner is at work.")
    return Step(tool_calls=[("seal_mission", {"summary": f"{FILES} files are written."})])


def _planner(turn: Turn) -> Step:
    del turn
    items = [
        {
            "id": f"file{n}",
            "title": f"File {n}",
            "files": [f"src/file{n}.txt"],
            "instructions": f"Write src/file{n}.txt.",
            "check": f"grep -q {n} src/file{n}.txt",
        }
        for n in range(FILES)
    ]
    verify = [f"test $(ls src | wc -l) -eq {FILES}"]
    return Step(tool_calls=[("submit_plan", {"items": items, "verify": verify})])


def _file(turn: Turn) -> str:
    found = re.search(r"^files: (\S+)$", turn.first_user, re.MULTILINE)
    assert found is not None
    return found[1]


def _worker(turn: Turn) -> Step:
    path = _file(turn)
    number = re.sub(r"\D", "", path)
    steps = [
        Step(tool_calls=[("read", {"path": ".gitignore"})]),
        Step(tool_calls=[("write", {"path": path, "content": f"number {number}\n" * 20})]),
        Step(text=f"{path} is written."),
    ]
    return steps[min(turn.number, 2)]


def _reviewer(turn: Turn) -> Step:
    path = _file(turn)
    if turn.number == 0:
        return Step(tool_calls=[("read", {"path": path})])
    if turn.number == 1:
        check = re.search(r"^check: (.+)$", turn.first_user, re.MULTILINE)
        assert check is not None
        return Step(tool_calls=[("bash", {"command": check[1]})])
    evidence = re.search(r"evidence (E\d+) · exit 0", turn.last)
    assert evidence is not None, turn.last
    return Step(tool_calls=[("submit_review", {"verdict": "approve", "evidence": [evidence[1]]})])


def long_session(turn: Turn) -> Step:
    """Play one Commander that reads for 200 turns, then answers."""
    if turn.number < LONG_TURNS - 1:
        return Step(tool_calls=[("read", {"path": "page.txt", "offset": 1, "limit": 60})])
    return Step(tool_calls=[("answer", {"text": "read"})])


@contextmanager
def _endpoint(script: str, folder: Path, environment: dict[str, str]) -> Iterator[str]:
    port_file = folder / "port"
    command = [sys.executable, "-m", "tests.endpoint", "--script", f"tests.bench.bench_mission:{script}"]
    command += ["--port-file", str(port_file), "--ledger", str(folder / "ledger.jsonl")]
    root = Path(__file__).resolve().parents[2]
    process = subprocess.Popen(command, cwd=root, env={**os.environ, **environment})
    try:
        deadline = time.monotonic() + ENDPOINT_START_S
        while not port_file.exists() or not port_file.read_text().strip():
            assert time.monotonic() < deadline, "the endpoint did not start"
            time.sleep(0.02)
        yield f"http://127.0.0.1:{port_file.read_text().strip()}/v1"
    finally:
        process.terminate()
        process.wait(10)


def _run_orch(arguments: list[str], url: str, folder: Path) -> dict[str, Any]:
    """Run `orch task` once and return what it cost, by the kernel's own accounting."""
    command = [sys.executable, "-m", "orch", "task", *arguments, "-m", "openai/scripted", "-q"]
    command += ["-C", str(folder / "workspace"), "--output-format", "json"]
    environment = {**os.environ, "OPENAI_BASE_URL": url, "HOME": str(folder)}
    environment.pop("OPENAI_API_KEY", None)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    began = time.perf_counter()
    ran = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    wall_s = time.perf_counter() - began
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if not ran.stdout:
        raise SystemExit(ran.stderr)
    result = json.loads(ran.stdout)
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {
        "exit_code": ran.returncode,
        "wall_s": wall_s,
        "mission_s": result["duration_s"],
        "cpu_s_with_commands": cpu_s,
        "peak_mb": after.ru_maxrss / 1024,
        "turns": result["num_turns"],
        "sessions": result["num_sessions"],
        "retries": result["num_retries"],
    }


def _ledger(folder: Path) -> dict[str, Any]:
    entries = [json.loads(line) for line in (folder / "ledger.jsonl").read_text().splitlines()]
    moments = sorted(
        [(e["arrival"], 1) for e in entries] + [(e["end"], -1) for e in entries if e["end"] is not None]
    )
    at_once = most = 0
    for _, change in moments:
        at_once += change
        most = max(most, at_once)
    return {
        "requests": len(entries),
        "most_at_once": most,
        "by_status": dict(Counter(str(e["status"]) for e in entries)),
        "refused": [e["refusal"] for e in entries if e["refusal"]],
    }


def main() -> None:
    """Run the benchmark and print its figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=FILES)
    parser.add_argument("--latency-s", type=float, default=LATENCY_S)
    parser.add_argument("--long", action="store_true")
    options = parser.parse_args()
    environment = {"BENCH_FILES": str(options.files), "BENCH_LATENCY_S": str(options.latency_s)}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "workspace").mkdir()
        (folder / "workspace" / ".gitignore").write_text("*.tmp\n")
        line = "x" * (LONG_PAGE_CHARS // 60 - 8)
        (folder / "workspace" / "page.txt").write_text(f"{line}\n" * 60)
        script = "long_session" if options.long else "mission"
        with _endpoint(script, folder, environment) as url:
            figures = _run_orch(["--answer", "read"] if options.long else ["write the files"], url, folder)
        figures |= _ledger(folder)
        figures["cpu_ms_per_turn_with_commands"] = 1000 * figures["cpu_s_with_commands"] / figures["turns"]
        if not options.long:
            critical_s = len(CRITICAL_PATH) * options.latency_s
            figures["critical_path_s"] = critical_s
            figures["wall_to_critical_path"] = figures["wall_s"] / critical_s
            figures["mission_to_critical_path"] = figures["mission_s"] / critical_s
        for key, value in figures.items():
            shown = f"{value:.3f}" if isinstance(value, float) else value
            sys.stdout.write(f"{key:32} {shown}\n")


if __name__ == "__main__":
    main()
