"""Runs the benchmark; `scripts/bench --help` lists the options."""

import argparse
import datetime
import fcntl
import os
import pathlib
import platform
import signal
import socket
import struct
import subprocess
import sys
import traceback

from . import chart, disk, inputs, measure, report, targets
from .cases import CASES, Session
from .registry import Registry
from .results import Results
from .tools import TOOLS, Programs

ROOT = pathlib.Path(__file__).resolve().parent.parent
HERE = ROOT / "bench"

NATIVE = {"x86_64": "linux/amd64", "aarch64": "linux/arm64"}.get(platform.machine(), "linux/amd64")
# Both platforms of the cases: one of them is this machine's.
EMULATORS = {"linux/amd64": "aarch64", "linux/arm64": "x86_64"}

# A tool that takes longer than this for a case does it once.
PATIENCE_SECONDS = 100


class Workplace:
    """A directory with the inputs, and with a registry and a tool at a time."""

    def __init__(self, directory, programs, contexts, scale):
        self.native = NATIVE
        self.measure = measure.measure
        self._directory = directory
        self._programs = programs
        self.inputs = inputs.make(directory, programs.testkit, NATIVE, contexts, scale)

    def start_registry(self):
        return Registry(self._directory / "registry", template=self.inputs.template)

    def start_tool(self, name):
        return TOOLS[name](self._directory / name, self._programs)


def run_case(case, tools, rounds, workplace, results):
    """All rounds of a case; the tool that begins is another one each time."""
    done = set()
    for number in range(rounds):
        shift = number % len(tools)
        for tool in tools[shift:] + tools[:shift]:
            if tool not in done and not run_once(case, tool, number, workplace, results):
                done.add(tool)


def run_once(case, tool, number, workplace, results):
    """One round of one tool; returns whether there is to be another."""
    spent = 0.0

    def on_sample(row, sample):
        nonlocal spent
        spent += sample.seconds
        results.add(row, tool, sample)
        print(
            f"{row:<14} {TOOLS[tool].title:<9} round {number + 1}  {report.seconds(sample.seconds):>9}  "
            f"{report.megabytes(sample.peak_bytes):>6} MB held  {report.megabytes(sample.sent_bytes):>6} MB sent  "
            f"{sample.cpu_seconds:.2f} s of processor",
            flush=True,
        )

    try:
        with Session(workplace, tool, on_sample) as session:
            case.run(session)
    except measure.ToolFailed as failure:
        print(f"{case.name:<14} {TOOLS[tool].title:<9} fails: {failure}", flush=True)
        for row in case.rows:
            if not results.of(row, tool):
                results.fail(row, tool, str(failure))
        return False
    return spent < PATIENCE_SECONDS


def facts(programs, tools, rounds, workplace):
    commit = output_of("git", "-C", ROOT, "describe", "--always", "--dirty", "--exclude=*")
    return {
        "date": datetime.date.today().isoformat(),
        "commit": commit or "unknown",
        "machine": machine(),
        "rounds": rounds,
        "versions": {name: TOOLS[name].version(programs).splitlines()[0] for name in tools},
        "large_base_bytes": workplace.inputs.large_base_bytes,
    }


def machine():
    cpu = "unknown processor"
    for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            cpu = line.partition(":")[2].strip()
            break
    cores = len(os.sched_getaffinity(0))
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    return f"{cpu}, {cores} cores, {memory:.0f} GB of memory, Linux {platform.release()}, {disk.NAME}"


def output_of(*command):
    words = [str(word) for word in command]
    return subprocess.run(words, capture_output=True, text=True, check=False).stdout.strip()


def set_up_namespace():
    """Brings up the loopback device and the emulator; both are gone with the namespaces."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as connection:
        up = struct.pack("16sh14x", b"lo", 0x1)
        fcntl.ioctl(connection, 0x8914, up)  # SIOCSIFFLAGS, IFF_UP
    binfmt = pathlib.Path("/proc/sys/fs/binfmt_misc")
    if not (binfmt / "register").exists():
        subprocess.run(["mount", "-t", "binfmt_misc", "binfmt_misc", binfmt], check=True)
    name = f"qemu-{EMULATORS[NATIVE]}"
    rule = pathlib.Path(f"/usr/lib/binfmt.d/{name}.conf")
    if not (binfmt / name).exists() and rule.exists():
        (binfmt / "register").write_text(rule.read_text())


def arguments():
    parser = argparse.ArgumentParser(prog="scripts/bench", description="Compares Archway with other tools.")
    names = ",".join(case.name for case in CASES)
    parser.add_argument("--cases", default=names, help=f"some of {names}")
    parser.add_argument("--tools", default=",".join(TOOLS), help=f"some of {','.join(TOOLS)}")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--scale", type=float, default=1.0, help="size of the trees, to try the bench itself")
    parser.add_argument("--write", action="store_true", help="write the results also if not all was measured")
    parser.add_argument("--add", action="store_true", help="write the results into those of the same machine")
    parser.add_argument("--render", action="store_true", help="write the page and the chart again, measure nothing")
    parser.add_argument("--archway", type=pathlib.Path, default=ROOT / "target/release/archway")
    parser.add_argument("--testkit", type=pathlib.Path, default=ROOT / "target/release/archway-testkit")
    # Of scripts/bench: print what the testkit has to make first; where everything is to be.
    parser.add_argument("--bases", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--work", type=pathlib.Path, help=argparse.SUPPRESS)
    return parser.parse_args()


def chosen(names, known, what):
    names = [name for name in names.split(",") if name]
    if unknown := [name for name in names if name not in known]:
        raise SystemExit(f"bench: no {what} {', '.join(unknown)}; there are {', '.join(known)}")
    return names


def write(results):
    results.write(HERE / "results.json")
    (HERE / "RESULTS.md").write_text(report.render(results))
    (HERE / "results.svg").write_text(chart.render(results, CASES) or "")
    readme = ROOT / "README.md"
    readme.write_text(report.put_into_readme(readme.read_text(), results))
    print("written to bench/RESULTS.md, bench/results.svg and README.md")


def main():
    options = arguments()
    if options.render:
        write(Results.read(HERE / "results.json"))
        return
    case_names = chosen(options.cases, [case.name for case in CASES], "case")
    tool_names = chosen(options.tools, TOOLS, "tool")
    cases = [case for case in CASES if case.name in case_names]
    contexts = [case.context for case in cases]
    if options.bases:
        print(*inputs.testkit_arguments(contexts))
        return
    is_whole = options.scale == 1 and len(cases) == len(CASES) and len(tool_names) == len(TOOLS)

    set_up_namespace()
    programs = Programs(options.archway.resolve(), options.testkit.resolve())
    results = Results()
    for name in list(tool_names):
        if reason := TOOLS[name].missing(programs):
            tool_names.remove(name)
            for case in cases:
                for row in case.rows if name in case.tools else ():
                    results.fail(row, name, reason)
    print("making the inputs", flush=True)
    directory = options.work / "disk"
    directory.mkdir()
    disk.mount(options.work / "disk.ext4", directory)
    workplace = Workplace(directory, programs, contexts, options.scale)
    results.facts = facts(programs, tool_names, options.rounds, workplace)
    for case in cases:
        tools = [name for name in case.tools if name in tool_names]
        if tools:
            run_case(case, tools, options.rounds, workplace, results)
    print()
    for row, verdict in targets.check(results):
        print(f"{row:<14} {verdict.target:<28} {verdict.measured:>9}  {_WORDS[verdict.met]}")
    if options.add:
        written = Results.read(HERE / "results.json")
        written.take(results)
        write(written)
    elif is_whole or options.write:
        write(results)


_WORDS = {True: "met", False: "MISSED", None: "not measured"}


def stop(*_):
    """SIGTERM is Ctrl-C: what is running is ended in order."""
    raise KeyboardInterrupt


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, stop)
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
    except subprocess.CalledProcessError:
        traceback.print_exc()
        sys.exit(1)
