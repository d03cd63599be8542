"""The parts of the benchmark that compute something; `make lint` runs them."""

import hashlib
import pathlib
import subprocess
import tempfile
import unittest
import xml.etree.ElementTree as ElementTree

from bench import chart, inputs, measure, registry, report, targets, trees
from bench.cases import CASES, DESCRIPTIONS
from bench.measure import Sample
from bench.results import Results
from bench.tools import TOOLS


def sample(seconds, peak=1):
    return Sample(seconds, seconds, peak, 2, 3)


def some_results():
    facts = {"date": "2026-01-01", "commit": "abc", "machine": "one", "rounds": 3, "versions": {}}
    results = Results({**facts, "large_base_bytes": 150_000_000})
    for tool, seconds in (("archway", 1.0), ("buildkit", 7.6), ("buildah", 3.0)):
        for spread in (0.0, 0.1, 5.0):
            results.add("ctx", tool, sample(seconds + spread, peak=140_000_000))
    results.add("base", "archway", sample(1.0))
    results.add("base", "buildkit", sample(4.0))
    results.add("base", "buildah", sample(1.2))
    results.add("start", "archway", sample(0.8))
    results.fail("start", "buildah", "too many <layers>")
    return results


class Samples(unittest.TestCase):
    def test_are_the_same_after_they_were_written(self):
        with tempfile.TemporaryDirectory() as directory:
            file = pathlib.Path(directory) / "results.json"
            some_results().write(file)
            self.assertEqual(Results.read(file), some_results())

    def test_of_another_run_take_the_place_of_their_rows(self):
        here, other = some_results(), some_results()
        other.facts["commit"] = "abc-dirty"
        other.samples = {"ctx": {"archway": [sample(9.0)]}}
        other.failures = {}
        here.take(other)
        self.assertEqual(here.of("ctx", "buildkit"), [])
        self.assertEqual(here.median("ctx", "archway"), 9.0)
        self.assertEqual(here.median("base", "buildkit"), 4.0)
        self.assertEqual(here.failure("start", "buildah"), "too many <layers>")
        self.assertEqual(here.rows_by_other_commit(), {})
        other.facts["commit"] = "def"
        here.take(other)
        self.assertEqual(here.rows_by_other_commit(), {"def": ["ctx"]})
        self.assertIn("commit abc (*ctx*: def)", report.render(here))
        with self.assertRaisesRegex(ValueError, "machine"):
            here.take(Results({**here.facts, "machine": "two"}))

    def test_medians_are_not_moved_by_one_slow_round(self):
        self.assertEqual(some_results().median("ctx", "archway"), 1.1)

    def test_a_command_that_fails_says_why(self):
        with self.assertRaisesRegex(measure.ToolFailed, "(?s)sh: 3.*reason"):
            measure.run(["sh", "-c", "echo reason >&2; exit 3"])

    def test_time_to_a_line_is_not_the_time_to_the_end(self):
        class Still:
            pid = 0

            def traffic(self):
                return 0, 0

        def seconds(until):
            program = "echo start; echo '[1/2] cached' >&2; sleep 2"
            return measure.measure([["sh", "-c", program]], None, Still(), until=until).seconds

        self.assertLess(seconds(b"] cached") + 1, seconds(None))
        with self.assertRaisesRegex(measure.ToolFailed, "nothing with never"):
            seconds(b"never")

    def test_memory_of_a_process_is_what_it_holds(self):
        program = "import sys; held = bytearray(b'x' * 50_000_000); print(flush=True); sys.stdin.read()"
        command = ["python3", "-c", program]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
            process.stdout.readline()
            held = measure.resident_bytes(AllBut(process.pid))
            process.stdin.close()
        self.assertGreater(held, 50_000_000)
        self.assertLess(held, 80_000_000)


class AllBut:
    """Every process of this machine except one."""

    def __init__(self, one):
        self.one = one

    def __contains__(self, pid):
        return pid != self.one


class Targets(unittest.TestCase):
    def test_compare_with_the_right_peer(self):
        verdicts = {(row, verdict.target): verdict for row, verdict in targets.check(some_results())}
        self.assertEqual(verdicts["ctx", "≥ 6x BuildKit"], targets.Verdict("≥ 6x BuildKit", "7.0x", True))
        best = verdicts["base", "≥ 1.5x the fastest peer"]
        self.assertEqual((best.measured, best.met), ("1.2x", False))

    def test_look_at_memory_and_at_parts(self):
        verdicts = {(row, verdict.target): verdict for row, verdict in targets.check(some_results())}
        self.assertTrue(verdicts["ctx", "memory ≤ 150 MB"].met)
        self.assertEqual(verdicts["start", "≤ 3 ms"].measured, "4.0 ms")
        self.assertFalse(verdicts["start", "≤ 3 ms"].met)

    def test_are_open_where_nothing_was_measured(self):
        results = Results()
        results.add("runs", "archway", sample(1.0))
        self.assertEqual([verdict.met for _, verdict in targets.check(results)], [None])


class Pages(unittest.TestCase):
    def test_every_row_is_described(self):
        rows = {row for case in CASES for row in case.rows}
        self.assertEqual(rows, set(DESCRIPTIONS))
        self.assertLessEqual(set(targets.TARGETS), rows)
        self.assertEqual({case.context for case in CASES}, set(inputs.BASES))
        self.assertLessEqual({tool for case in CASES for tool in case.tools}, set(TOOLS))

    def test_the_report_shows_times_ratios_and_failures(self):
        page = report.render(some_results())
        self.assertIn("| 1.10 s | 7.70 s | 3.10 s | 7.0x | 2.8x |", page)
        self.assertIn("| 4.0 ms | - | fails |", page)
        self.assertIn("too many <layers>", page)

    def test_the_readme_gets_its_table_between_its_marks(self):
        readme = (pathlib.Path(__file__).parents[2] / "README.md").read_text()
        once = report.put_into_readme(readme, some_results())
        self.assertIn("| 1.10 s | 7.70 s | 3.10 s |", once)
        self.assertEqual(report.put_into_readme(once, some_results()), once)
        self.assertEqual(once.partition("## Speed")[0], readme.partition("## Speed")[0])
        self.assertEqual(once.partition("## More")[2], readme.partition("## More")[2])

    def test_the_chart_is_a_picture_of_what_can_be_compared(self):
        root = ElementTree.fromstring(chart.render(some_results(), CASES))
        texts = [text.text for text in root.iter("{http://www.w3.org/2000/svg}text")]
        self.assertIn("7.70 s · 7.0x", texts)
        self.assertNotIn("start", texts, "only Archway did it")

    def test_seconds_are_short(self):
        cases = {0.00123: "1.2 ms", 0.0561: "56.1 ms", 0.5: "0.50 s", 12.34: "12.3 s"}
        self.assertEqual({value: report.seconds(value) for value in cases}, cases)


class Inputs(unittest.TestCase):
    def test_only_what_the_cases_need_is_made(self):
        platforms = ["--platform", "linux/amd64,linux/arm64"]
        self.assertEqual(inputs.testkit_arguments(["copies"]), platforms)
        self.assertEqual(inputs.testkit_arguments(["base", "cross"]), [*platforms, "busybox", "debian", "golang"])


class Traffic(unittest.TestCase):
    def test_bytes_of_answers_are_in_the_access_log(self):
        answer = '127.0.0.1 - - [21/Nov/2026:04:48:11 +0000] "GET /v2/a/blobs/x HTTP/1.1" 200 4711 "" "curl/7"'
        self.assertEqual(registry._answered_bytes(answer), 4711)
        self.assertEqual(registry._answered_bytes('time="2026" level=info msg="a b"'), 0)
        self.assertEqual(registry._answered_bytes(""), 0)


class Trees(unittest.TestCase):
    def test_files_are_the_same_everywhere(self):
        digest = hashlib.sha256()
        for path, content in trees.Pools(0.02).project(files=2_500, size=15_000_000):
            digest.update(path.encode() + content)
        self.assertEqual(digest.hexdigest()[:16], "b8e527f0957f2db7")

    def test_a_changed_file_is_restored(self):
        with tempfile.TemporaryDirectory() as directory:
            file = pathlib.Path(directory) / "a"
            trees.write(file.parent, [("a", "text\n")])
            before = file.stat().st_mtime_ns
            with trees.changed(file):
                self.assertEqual(file.read_text(), "text\none more line\n")
            self.assertEqual((file.read_text(), file.stat().st_mtime_ns), ("text\n", before))


if __name__ == "__main__":
    unittest.main()
