"""The samples of a run, with what is to be known about it; kept as JSON."""

import dataclasses
import json
import statistics

from .measure import Sample


@dataclasses.dataclass
class Results:
    """Samples and failures by row and tool, and facts about machine, versions and inputs."""

    facts: dict = dataclasses.field(default_factory=dict)
    samples: dict = dataclasses.field(default_factory=dict)
    failures: dict = dataclasses.field(default_factory=dict)

    def add(self, row, tool, sample):
        self.samples.setdefault(row, {}).setdefault(tool, []).append(sample)

    def fail(self, row, tool, reason):
        self.failures.setdefault(row, {})[tool] = reason

    def rows(self):
        return list(dict.fromkeys([*self.samples, *self.failures]))

    def of(self, row, tool):
        return self.samples.get(row, {}).get(tool, [])

    def failure(self, row, tool):
        return self.failures.get(row, {}).get(tool)

    def median(self, row, tool, field="seconds"):
        """The median of one field of all samples; None if there are none."""
        samples = self.of(row, tool)
        return statistics.median(getattr(sample, field) for sample in samples) if samples else None

    def peak(self, row, tool):
        """The most memory in any sample, in bytes."""
        samples = self.of(row, tool)
        return max(sample.peak_bytes for sample in samples) if samples else None

    def take(self, other):
        """Puts the rows of another run in the place of those here. Both have to be of one machine and number of
        rounds; rows of another commit keep its name.
        """
        for fact in ("machine", "rounds"):
            here, there = self.facts.get(fact), other.facts.get(fact)
            if here != there:
                raise ValueError(f"results of another {fact} cannot be put together: {here}, {there}")
        commit, own = (results.facts["commit"].removesuffix("-dirty") for results in (other, self))
        others = self.facts.setdefault("other_commits", {})
        for row in other.rows():
            self.samples.pop(row, None)
            self.failures.pop(row, None)
            others.pop(row, None)
            if commit != own:
                others[row] = commit
        self.samples.update(other.samples)
        self.failures.update(other.failures)
        added = {name: value for name, value in other.facts.items() if not self.facts.get(name)}
        self.facts.update(added)
        self.facts["versions"] |= other.facts["versions"]

    def rows_by_other_commit(self):
        """The rows that were measured at other commits than the rest, by commit."""
        by_commit = {}
        for row, commit in self.facts.get("other_commits", {}).items():
            by_commit.setdefault(commit, []).append(row)
        return by_commit

    def write(self, file):
        samples = {
            row: {tool: [dataclasses.asdict(sample) for sample in samples] for tool, samples in tools.items()}
            for row, tools in self.samples.items()
        }
        document = {"facts": self.facts, "failures": self.failures, "samples": samples}
        file.write_text(json.dumps(document, indent=1) + "\n")

    @classmethod
    def read(cls, file):
        document = json.loads(file.read_text())
        samples = {
            row: {tool: [Sample(**sample) for sample in samples] for tool, samples in tools.items()}
            for row, tools in document["samples"].items()
        }
        return cls(document["facts"], samples, document["failures"])
