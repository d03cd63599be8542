"""Puts images into a registry, by the few requests of the distribution API that this takes."""

import gzip
import hashlib
import http.client
import io
import json
import tarfile

from .registry import ADDRESS

INDEX = "application/vnd.oci.image.index.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"


class Repository:
    """One repository of the registry at `ADDRESS`."""

    def __init__(self, name):
        self.name = name

    def reference(self, reference="latest"):
        return f"{ADDRESS}/{self.name}{'@' if ':' in reference else ':'}{reference}"

    def platforms(self, tag="latest"):
        """The descriptors of an image's platforms, by `os/architecture[/variant]`."""
        index = json.loads(self._request("GET", f"manifests/{tag}", headers={"Accept": INDEX}))
        return {platform_name(entry["platform"]): entry for entry in index["manifests"]}

    def manifest(self, digest):
        return json.loads(self._request("GET", f"manifests/{digest}", headers={"Accept": MANIFEST}))

    def config(self, manifest):
        return json.loads(self._request("GET", f"blobs/{manifest['config']['digest']}"))

    def mount(self, digest, source):
        """Takes a blob over from the repository `source`."""
        self._request("POST", f"blobs/uploads/?mount={digest}&from={source}", b"")

    def put_blob(self, media_type, content):
        """Uploads `content`, and returns its descriptor."""
        digest = "sha256:" + hashlib.sha256(content).hexdigest()
        connection, answer = self._ask("POST", "blobs/uploads/", b"")
        place = answer.getheader("Location")
        answer.read()
        place += ("&" if "?" in place else "?") + f"digest={digest}"
        connection.request("PUT", place, content, {"Content-Type": "application/octet-stream"})
        _expect_success(connection.getresponse(), f"PUT {place}")
        return {"mediaType": media_type, "digest": digest, "size": len(content)}

    def put_image(self, config, layers, tag=None):
        """Uploads a config, and a manifest of it and the `layers`; returns the manifest's descriptor."""
        manifest = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": self.put_blob(CONFIG, json.dumps(config).encode()),
            "layers": layers,
        }
        return self._put_manifest(MANIFEST, manifest, tag)

    def put_index(self, manifests, tag="latest"):
        index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests}
        return self._put_manifest(INDEX, index, tag)

    def _put_manifest(self, media_type, document, tag):
        content = json.dumps(document).encode()
        digest = "sha256:" + hashlib.sha256(content).hexdigest()
        self._request("PUT", f"manifests/{tag or digest}", content, {"Content-Type": media_type})
        return {"mediaType": media_type, "digest": digest, "size": len(content)}

    def _request(self, method, path, body=None, headers=None):
        _, answer = self._ask(method, path, body, headers)
        return _expect_success(answer, f"{method} {self.name}/{path}")

    def _ask(self, method, path, body=None, headers=None):
        connection = http.client.HTTPConnection(ADDRESS)
        connection.request(method, f"/v2/{self.name}/{path}", body, headers or {})
        return connection, connection.getresponse()


def _expect_success(answer, what):
    content = answer.read()
    if answer.status >= 300:
        raise SystemExit(f"bench: {what}: {answer.status} {content.decode(errors='replace')}")
    return content


def platform_name(platform):
    parts = (platform["os"], platform["architecture"], platform.get("variant"))
    return "/".join(part for part in parts if part)


def platform_fields(name):
    """The fields of a config or descriptor for `os/architecture[/variant]`."""
    fields = dict(zip(("os", "architecture", "variant"), name.split("/")))
    return fields


def layer_of(files):
    """A compressed layer of `files` (pairs of path and content), and the digest of its tar."""
    tar = io.BytesIO()
    with tarfile.open(fileobj=tar, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for path, content in files:
            member = tarfile.TarInfo(path)
            member.size = len(content)
            member.mode = 0o644
            archive.addfile(member, io.BytesIO(content))
    content = tar.getvalue()
    return gzip.compress(content, 6, mtime=0), "sha256:" + hashlib.sha256(content).hexdigest()
