"""Compares Archway with BuildKit and Buildah on one machine, in one run.

`scripts/bench` puts this package into a namespace of its own and runs it; `docs/performance.md` says how to
use it. The way of a figure through the modules:

    cases     what is done, as a list of measurements
    tools     how each program is told to do it, and how its caches are emptied
    measure   seconds, processor time, memory and traffic of what ran
    results   all samples of a run; bench/results.json
    targets   what was promised, and whether it was kept
    report    bench/RESULTS.md
    chart     bench/results.svg
"""
