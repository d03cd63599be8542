"""Seconds, processor time, memory and traffic of commands.

The package runs in a process namespace of its own, so every process that is neither this one nor the
registry belongs to the tool being measured, however deep below a daemon it was started. It also has a
network namespace of its own, so the counter of its loopback device has the traffic between the tool and
the registry and nothing else. Neither touches what is measured.
"""

import dataclasses
import os
import pathlib
import resource
import select
import signal
import subprocess
import tempfile
import threading
import time

LIMIT_SECONDS = 400
SAMPLE_SECONDS = 0.02

_PAGE = os.sysconf("SC_PAGE_SIZE")
_TICK = os.sysconf("SC_CLK_TCK")
_ERROR_LINES = 4


class ToolFailed(Exception):
    """A command did not succeed; the text is what it said last."""


@dataclasses.dataclass(frozen=True)
class Sample:
    """What one measurement cost. Bytes are bytes, not megabytes."""

    seconds: float
    cpu_seconds: float
    peak_bytes: int
    sent_bytes: int
    received_bytes: int


def measure(commands, environment, registry, daemon=None, until=None):
    """Runs `commands` one after another, and returns a `Sample` of all of them.

    `daemon` is the id of a process that works for them without being their child. With `until`, seconds
    end at the first line of a command's output that has these bytes.
    """
    os.sync()
    sent, received = registry.traffic()
    cpu = _cpu_seconds(daemon)
    with _MemorySampler(spared={os.getpid(), registry.pid}) as memory:
        if until is None:
            seconds = sum(_run(command, environment)[0] for command in commands)
        else:
            seconds = sum(_seconds_until(until, command, environment) for command in commands)
    cpu = _cpu_seconds(daemon) - cpu
    sent_after, received_after = registry.traffic()
    return Sample(seconds, cpu, memory.peak, sent_after - sent, received_after - received)


def run(command, environment=None):
    """Runs one command to its end, and returns what it wrote to standard output."""
    return _run(command, environment)[1]


def _run(command, environment):
    """Seconds from start to end of the process, and its standard output."""
    command = [str(word) for word in command]
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        started = time.perf_counter()
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=errors,
            env=environment,
            start_new_session=True,
        )
        try:
            status = _wait(process)
            seconds = time.perf_counter() - started
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        if status != 0:
            raise ToolFailed(f"{pathlib.Path(command[0]).name}: {status}\n{_last_lines(errors)}")
        output.seek(0)
        return seconds, output.read().decode(errors="replace")


def _seconds_until(mark, command, environment):
    """Seconds from the start of the process to the first line it writes that has `mark`."""
    command = [str(word) for word in command]
    started = time.perf_counter()
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment
    )
    with process:
        limit = threading.Timer(LIMIT_SECONDS, process.kill)
        limit.start()
        seen = None
        for line in process.stdout:
            if seen is None and mark in line:
                seen = time.perf_counter() - started
        limit.cancel()
    if process.returncode != 0 or seen is None:
        raise ToolFailed(f"{pathlib.Path(command[0]).name}: {process.returncode}, nothing with {mark.decode()}")
    return seen


def _wait(process):
    """The exit code, as soon as there is one: `Popen.wait` with a limit looks every 50 ms only."""
    ended = os.pidfd_open(process.pid)
    try:
        poll = select.poll()
        poll.register(ended, select.POLLIN)
        if not poll.poll(LIMIT_SECONDS * 1000):
            return f"stopped after {LIMIT_SECONDS} s"
        return process.wait()
    finally:
        os.close(ended)


def _last_lines(file):
    file.seek(0)
    lines = file.read().decode(errors="replace").splitlines()
    return "\n".join(line for line in lines[-_ERROR_LINES:] if line.strip())


def _cpu_seconds(daemon):
    """User and system time of all children that have ended, and of the daemon with its own."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = usage.ru_utime + usage.ru_stime
    if daemon is not None:
        stat = pathlib.Path(f"/proc/{daemon}/stat").read_text()
        # The name, in parentheses, may hold anything; user, system and both of its children follow later.
        fields = stat.rpartition(")")[2].split()
        seconds += sum(int(ticks) for ticks in fields[11:15]) / _TICK
    return seconds


class _MemorySampler:
    """The most memory that the tool's processes held together."""

    def __init__(self, spared):
        self.peak = 0
        self._spared = spared
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        self._thread.join()

    def _run(self):
        while not self._stop.wait(SAMPLE_SECONDS):
            self.peak = max(self.peak, resident_bytes(self._spared))


def resident_bytes(spared):
    """Memory of every process but the spared: what is a process's own, and each program's file pages once."""
    own, files = 0, {}
    for name in os.listdir("/proc"):
        if not name.isdigit() or int(name) in spared:
            continue
        try:
            with open(f"/proc/{name}/statm", encoding="ascii") as file:
                resident, shared = (int(field) for field in file.read().split()[1:3])
            program = os.readlink(f"/proc/{name}/exe")
        except OSError:
            continue  # it has ended
        own += resident - shared
        files[program] = max(files.get(program, 0), shared)
    return (own + sum(files.values())) * _PAGE
