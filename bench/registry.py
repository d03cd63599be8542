"""Debian's docker-registry, with storage that can begin as a copy of another one's."""

import http.client
import pathlib
import shutil
import subprocess
import time

ADDRESS = "localhost:5000"  # always free: the network namespace is our own

_CONFIGURATION = """\
version: 0.1
log: {{level: warn, accesslog: {{disabled: false}}}}
storage:
  filesystem: {{rootdirectory: "{storage}"}}
  delete: {{enabled: true}}
  maintenance: {{uploadpurging: {{enabled: false}}}}
http: {{addr: "{address}", secret: bench}}
"""
_START_LIMIT_SECONDS = 20


class Registry:
    """A running registry in a directory of its own."""

    def __init__(self, directory, template=None):
        """With nothing in it, or with what the stopped registry in the directory `template` had."""
        self._directory = pathlib.Path(directory)
        self._directory.mkdir()
        if template is not None:
            _copy(template / "storage", self._directory / "storage")
        configuration = self._directory / "config.yml"
        text = _CONFIGURATION.format(storage=self._directory / "storage", address=ADDRESS)
        configuration.write_text(text)
        self._log = self._directory / "log"
        with open(self._log, "wb") as log:
            command = ["docker-registry", "serve", str(configuration)]
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self._wait_until_ready()

    def _wait_until_ready(self):
        ends = time.monotonic() + _START_LIMIT_SECONDS
        while time.monotonic() < ends and self._process.poll() is None:
            try:
                connection = http.client.HTTPConnection(ADDRESS, timeout=5)
                connection.request("GET", "/v2/")
                if connection.getresponse().status == 200:
                    return
            except OSError:
                time.sleep(0.01)
        raise SystemExit(f"bench: docker-registry does not start\n{self._log.read_text()}")

    @property
    def pid(self):
        return self._process.pid

    def traffic(self):
        """Bytes sent to the registry so far, with all headers, and bytes of the bodies of its answers.

        The loopback device counts both directions together; what the registry answered is in its log.
        """
        received = sum(map(_answered_bytes, self._log.read_text(errors="replace").splitlines()))
        return _loopback_bytes() - received, received

    def stop(self):
        self._process.terminate()
        self._process.wait()

    def remove(self):
        self.stop()
        shutil.rmtree(self._directory)


def _copy(source, target):
    """Blobs never change, so they are linked; what names them is copied."""
    version = pathlib.Path("docker/registry/v2")
    shutil.copytree(source / version / "repositories", target / version / "repositories")
    subprocess.run(["cp", "-al", source / version / "blobs", target / version / "blobs"], check=True)


def _answered_bytes(line):
    """Bytes of the answer in a line of the access log (Apache's combined format); of other lines 0."""
    parts = line.split('"')
    if len(parts) < 3 or " HTTP/" not in parts[1]:
        return 0
    status_and_bytes = parts[2].split()
    return int(status_and_bytes[1]) if len(status_and_bytes) == 2 and status_and_bytes[1].isdigit() else 0


def _loopback_bytes():
    for line in pathlib.Path("/proc/self/net/dev").read_text().splitlines():
        name, _, counters = line.partition(":")
        if name.strip() == "lo":
            return int(counters.split()[0])
    raise SystemExit("bench: this network namespace has no loopback device")
