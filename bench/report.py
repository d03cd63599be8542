"""bench/RESULTS.md: the tables of a run. And the short one of the README."""

import re

from . import targets
from .cases import CASES, DESCRIPTIONS, STARTS, VERSIONS
from .tools import TOOLS

_PARTS = {"start": STARTS, "version": VERSIONS}


def seconds(value):
    """Three digits, in the unit that reads best."""
    if value is None:
        return "-"
    if value < 0.1:
        return f"{value * 1000:.1f} ms"
    return f"{value:.2f} s" if value < 10 else f"{value:.1f} s"


def megabytes(value):
    if value is None:
        return "-"
    return f"{value / 1e6:.1f}" if value < 10e6 else f"{value / 1e6:.0f}"


def part_of(row, value):
    """The seconds that a row speaks of, which may be one part of what was measured."""
    return None if value is None else value / _PARTS.get(row, 1)


def description(row, facts):
    return DESCRIPTIONS[row].format(large_base=round(facts.get("large_base_bytes", 0) / 1e6))


def render(results):
    """The whole page."""
    builders = [case for case in CASES if case.tools[1] == "buildkit"]
    index_makers = [case for case in CASES if case.tools[1] != "buildkit"]
    parts = [_head(results), _times(results, builders), _times(results, index_makers), _verdicts(results)]
    parts.append("## Memory, processor, traffic\n\n" + _HOW_MEASURED)
    parts.append(_costs(results, builders))
    parts.append(_failures(results))
    return "\n\n".join(part for part in parts if part) + "\n"


_HOW_MEASURED = """\
Memory is the most that all processes of a tool held at one time - daemon, client, runtimes, steps -, sampled
every 20 ms: what is a process's own, and the file pages of each program once. Processor time is theirs, too, without
the registry's. Sent and received is between tool and registry; sent includes the headers of both directions. All but
memory are medians."""


_README_MARKS = ("<!-- begin: written by make bench -->", "<!-- end: written by make bench -->")


def put_into_readme(text, results):
    """The README `text` with the table between its marks replaced."""
    begin, end = _README_MARKS
    between = re.compile(f"{re.escape(begin)}.*{re.escape(end)}", re.DOTALL)
    return between.sub(lambda _: f"{begin}\n{_readme(results)}\n{end}", text)


def _readme(results):
    facts = results.facts
    lines = [
        "![Time of each case, next to BuildKit and Buildah](bench/results.svg)",
        "",
        f"{facts['machine']}; {facts['date']}, commit {facts['commit']}{_other_commits(results)}. "
        f"Medians of {facts['rounds']} rounds.",
        "",
        "| case | what | archway | BuildKit | buildah |",
        "|---|---|---:|---:|---:|",
    ]
    for row in results.rows():
        if results.of(row, "archway") and results.of(row, "buildkit"):
            cells = [_time(results, row, tool) for tool in ("archway", "buildkit", "buildah")]
            lines.append(f"| {row} | {description(row, facts)} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _head(results):
    facts = results.facts
    lines = [
        "# Benchmark results",
        "",
        f"Written by `make bench` on {facts['date']}, commit {facts['commit']}{_other_commits(results)}; "
        f"[docs/performance.md](../docs/performance.md) says what it does. Medians of {facts['rounds']} rounds "
        "in which the tools took turns; *cold* rows begin with empty caches and an empty target repository.",
        "",
        f"- Machine: {facts['machine']}.",
        *(f"- {version}" for version in facts["versions"].values()),
        "",
        "![Time of each case](results.svg)",
    ]
    return "\n".join(lines)


def _other_commits(results):
    """Says which rows are of other commits."""
    others = results.rows_by_other_commit().items()
    return "".join(f" ({', '.join(f'*{row}*' for row in rows)}: {commit})" for commit, rows in others)


def _tools_of(cases, results):
    names = dict.fromkeys(name for case in cases for name in case.tools)
    return [name for name in names if any(name in results.samples.get(row, {}) or results.failure(row, name)
                                          for case in cases for row in case.rows)]


def _times(results, cases):
    rows = [row for case in cases for row in case.rows if row in results.rows()]
    if not rows:
        return None
    tools = _tools_of(cases, results)
    peers = [name for name in tools if name != "archway"]
    lines = [
        "| case | what | " + " | ".join(TOOLS[name].title for name in tools) + " | "
        + " | ".join(f"{TOOLS[name].title} / archway" for name in peers) + " |",
        "|---|---|" + "---:|" * (len(tools) + len(peers)),
    ]
    for row in rows:
        cells = [_time(results, row, name) for name in tools]
        ratios = [_ratio(results, row, name) for name in peers]
        lines.append(f"| {row} | {description(row, results.facts)} | {' | '.join([*cells, *ratios])} |")
    return "\n".join(lines)


def _time(results, row, tool):
    if results.failure(row, tool):
        return "fails"
    return seconds(part_of(row, results.median(row, tool)))


def _ratio(results, row, tool):
    ours, theirs = results.median(row, "archway"), results.median(row, tool)
    return "-" if ours is None or theirs is None else f"{theirs / ours:.1f}x"


def _verdicts(results):
    lines = ["## Targets", "", "| case | target | measured | met |", "|---|---|---:|---|"]
    words = {True: "yes", False: "**no**", None: "not measured"}
    for row, verdict in targets.check(results):
        lines.append(f"| {row} | {verdict.target} | {verdict.measured} | {words[verdict.met]} |")
    return "\n".join(lines)


def _costs(results, cases):
    lines = [
        "| case | tool | peak memory, MB | processor, s | sent, MB | received, MB | samples |",
        "|---|---|---:|---:|---:|---:|---:|",
    ]
    for case in cases:
        for row in case.rows:
            for tool in case.tools:
                if not results.of(row, tool):
                    continue
                cells = (
                    megabytes(results.peak(row, tool)),
                    f"{results.median(row, tool, 'cpu_seconds'):.2f}",
                    megabytes(results.median(row, tool, "sent_bytes")),
                    megabytes(results.median(row, tool, "received_bytes")),
                    str(len(results.of(row, tool))),
                )
                lines.append(f"| {row} | {TOOLS[tool].title} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _failures(results):
    lines = []
    for row, tools in results.failures.items():
        for tool, reason in tools.items():
            lines += [f"### {row}, {TOOLS[tool].title}", "", "```", reason, "```", ""]
    return "\n".join(["## What a tool could not do", "", *lines]).strip() if lines else None
