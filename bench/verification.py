"""How long `archway index verify` takes, next to a download of the same blobs into gunzip.

    unshare --net python3 -m bench.verification [--archway BINARY] [--rounds N]

An image for two platforms is pushed to a docker-registry on loopback: for each a layer of its own of about
100 MB, compressed. Both ways take turns; the baseline gets one `curl | gunzip` for each layer, all at the same
time.
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import tempfile
import time

from . import trees
from .registry import ADDRESS, Registry

IMAGE = f"{ADDRESS}/verified:1"
PLATFORMS = ("amd64", "arm64")
# Compressed it is about 42 % of it.
_BYTES_PER_PLATFORM = 240_000_000


def _push(archway, work, scale):
    context = work / "context"
    for seed, platform in enumerate(PLATFORMS):
        trees.write(context / platform, trees.Pools(scale, seed).project(size=_BYTES_PER_PLATFORM))
    (context / "Dockerfile").write_text("FROM scratch\nARG TARGETARCH\nCOPY $TARGETARCH /\n")
    platforms = ",".join(f"linux/{platform}" for platform in PLATFORMS)
    command = [archway, "build", "--push", "--platform", platforms, "-t", IMAGE, context]
    subprocess.run(command, check=True, capture_output=True)


def _layers(archway):
    inspection = subprocess.run(
        [archway, "inspect", "--pull", "--format", "json", IMAGE], check=True, capture_output=True
    )
    platforms = json.loads(inspection.stdout)["platforms"]
    return {layer["digest"]: layer["size"] for platform in platforms for layer in platform["layers"]}


def _download(layers):
    url = f"http://{ADDRESS}/v2/verified/blobs"
    commands = [f"curl --silent --fail {url}/{digest} | gunzip > /dev/null" for digest in layers]
    running = [subprocess.Popen(["bash", "-o", "pipefail", "-c", command]) for command in commands]
    if any(process.wait() for process in running):
        raise SystemExit("bench: a download failed")


def _verify(archway):
    subprocess.run([archway, "index", "verify", IMAGE], check=True, capture_output=True)


def _seconds(action, *arguments):
    started = time.monotonic()
    action(*arguments)
    return time.monotonic() - started


def main():
    parser = argparse.ArgumentParser(prog="python3 -m bench.verification")
    parser.add_argument("--archway", default="target/release/archway")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--scale", type=float, default=1.0, help="smaller trees, to try it")
    given = parser.parse_args()
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    with tempfile.TemporaryDirectory(prefix="archway-bench-", dir="/var/tmp") as directory:
        work = pathlib.Path(directory)
        os.environ["ARCHWAY_ROOT"] = str(work / "store")
        registry = Registry(work / "registry")
        try:
            _push(given.archway, work, given.scale)
            layers = _layers(given.archway)
            print(f"{len(layers)} layers, {sum(layers.values()) / 1e6:.0f} MB")
            samples = {"download and gunzip": [], "archway index verify": []}
            for _ in range(given.rounds):
                samples["download and gunzip"].append(_seconds(_download, layers))
                samples["archway index verify"].append(_seconds(_verify, given.archway))
        finally:
            registry.stop()
    medians = {name: statistics.median(times) for name, times in samples.items()}
    for name, times in samples.items():
        rounds = " ".join(f"{seconds:.2f}" for seconds in times)
        print(f"{name:22} {medians[name]:.2f} s (median of {rounds})")
    print(f"ratio {medians['archway index verify'] / medians['download and gunzip']:.2f}")


if __name__ == "__main__":
    main()
