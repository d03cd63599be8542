"""bench/results.svg: a bar for each tool in each case, in multiples of Archway's time.

Plain SVG. Text and axes take the colour of the page where it is shown: dark on light, light on dark.
"""

import math
from xml.sax.saxutils import escape

from . import report
from .tools import TOOLS

_COLOURS = {
    "archway": "#2a7de1",
    "buildkit": "#e08a1e",
    "buildah": "#8c6bb1",
    "crane": "#3a9e6e",
    "buildx": "#c2536b",
}
_WIDTH = 860
_LEFT = 128
_RIGHT = 150
_BAR = 13
_BAR_GAP = 2
_GROUP_GAP = 14
_TOP = 62
_STYLE = """\
text { font: 13px system-ui, -apple-system, "Segoe UI", "Helvetica Neue", Arial, sans-serif; fill: #1f2328 }
.small { font-size: 12px; fill: #59636e }
.name { font-weight: 600 }
.grid { stroke: #d1d9e0 }
@media (prefers-color-scheme: dark) {
  text { fill: #f0f6fc }
  .small { fill: #9198a1 }
  .grid { stroke: #3d444d }
}"""


def render(results, cases):
    """The chart of all rows of `cases` that Archway and a peer did."""
    groups = [
        (row, bars)
        for case in cases
        for row in case.rows
        if len(bars := _bars(results, row, case.tools)) > 1 and bars[0][0] == "archway"
    ]
    if not groups:
        return None
    longest = max(value / bars[0][1] for _, bars in groups for _, value in bars)
    scale = _Scale(longest)
    height = _TOP + sum(len(bars) * (_BAR + _BAR_GAP) + _GROUP_GAP for _, bars in groups) + 10
    body = [*_legend(groups), *scale.grid(height)]
    y = _TOP
    for row, bars in groups:
        body += _group(row, bars, y, scale)
        y += len(bars) * (_BAR + _BAR_GAP) + _GROUP_GAP
    return "\n".join([
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" width="{_WIDTH}" '
        f'height="{height}" role="img" aria-labelledby="title">',
        '<title id="title">Time of each case, as a multiple of Archway\'s; shorter is faster</title>',
        f"<style>\n{_STYLE}\n</style>",
        *body,
        "</svg>\n",
    ])


class _Scale:
    """A logarithmic axis, as the multiples span two orders of magnitude."""

    def __init__(self, longest):
        self._least, self._most = 0.5, max(longest, 4) * 1.05

    def x(self, multiple):
        part = math.log(max(multiple, self._least) / self._least) / math.log(self._most / self._least)
        return _LEFT + part * (_WIDTH - _LEFT - _RIGHT)

    def grid(self, height):
        for multiple in (1, 2, 5, 10, 20, 50, 100, 200, 500):
            if multiple <= self._most:
                x = self.x(multiple)
                yield f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP - 8}" y2="{height - 12}"/>'
                yield f'<text class="small" x="{x:.1f}" y="{_TOP - 14}" text-anchor="middle">{multiple}x</text>'


def _bars(results, row, tools):
    medians = ((tool, results.median(row, tool)) for tool in tools)
    return [(tool, median) for tool, median in medians if median is not None]


def _legend(groups):
    names = dict.fromkeys(tool for _, bars in groups for tool, _ in bars)
    yield '<text class="name" x="10" y="20">Time, as a multiple of archway\'s</text>'
    yield '<text class="small" x="10" y="38">shorter is faster; the axis is logarithmic</text>'
    x = 300
    for name in names:
        title = TOOLS[name].title
        yield f'<rect x="{x}" y="9" width="12" height="12" rx="2" fill="{_COLOURS[name]}"/>'
        yield f'<text x="{x + 18}" y="20">{escape(title)}</text>'
        x += 40 + 8 * len(title)


def _group(row, bars, y, scale):
    ours = bars[0][1]
    middle = y + len(bars) * (_BAR + _BAR_GAP) / 2 + 4
    yield f'<text class="name" x="{_LEFT - 10}" y="{middle:.1f}" text-anchor="end">{escape(row)}</text>'
    for number, (tool, value) in enumerate(bars):
        top = y + number * (_BAR + _BAR_GAP)
        width = max(scale.x(value / ours) - _LEFT, 2)
        yield (
            f'<rect x="{_LEFT}" y="{top}" width="{width:.1f}" height="{_BAR}" rx="2" '
            f'fill="{_COLOURS[tool]}"/>'
        )
        label = report.seconds(report.part_of(row, value))
        if tool != "archway":
            label += f" · {value / ours:.1f}x"
        yield f'<text class="small" x="{_LEFT + width + 6:.1f}" y="{top + 11}">{escape(label)}</text>'
