"""`jaxbert launch stop` of a JobSet with the real kubectl. A small server answers it in place of a cluster."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from jaxbert.launch import records

from jaxbert.commands.main import main
from tests.launch.conftest import BUCKET

JOBSETS = "/apis/jobset.x-k8s.io/v1alpha2"
NAME = "bert-base-1"


class Cluster:
    """A server that knows JobSets and ConfigMaps as far as kubectl asks for them.

    Attributes:
      objects: path of each object -> the object.
      forbidden: whether it refuses to delete.
      deleted: the paths of what was deleted.
    """

    def __init__(self) -> None:
        self.objects: dict[str, dict[str, Any]] = {}
        self.forbidden = False
        self.deleted: list[str] = []

    def put(self, base: str, kind: str, resource: str, name: str) -> None:
        version = base.removeprefix("/apis/").removeprefix("/api/")
        labels = {"jaxbert-job": NAME}
        self.objects[f"{base}/namespaces/team/{resource}/{name}"] = {
            "apiVersion": version,
            "kind": kind,
            "metadata": {"name": name, "namespace": "team", "uid": name, "labels": labels},
        }

    def answer(self, method: str, path: str) -> tuple[int, dict[str, Any]]:
        place = path.partition("?")[0]
        if place in _DISCOVERY:
            return 200, _DISCOVERY[place]
        if method == "DELETE" and self.forbidden:
            return 403, status(403, "Forbidden", f'"{NAME}" is forbidden: User "ada" cannot delete resource')
        if place in self.objects:
            found = self.objects[place]
            if method == "DELETE":
                del self.objects[place]
                self.deleted.append(place)
            return 200, found
        if place.endswith("/configmaps"):
            items = [one for path, one in self.objects.items() if path.startswith(place)]
            return 200, {"kind": "ConfigMapList", "apiVersion": "v1", "metadata": {}, "items": items}
        return 404, status(404, "NotFound", f'"{place.rpartition("/")[2]}" not found')


def status(code: int, reason: str, message: str) -> dict[str, Any]:
    found = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code}
    return {**found, "reason": reason, "message": message}


def _resources(version: str, name: str, kind: str) -> dict[str, Any]:
    verbs = ["create", "delete", "get", "list", "patch", "watch"]
    one = {"name": name, "singularName": name.removesuffix("s"), "kind": kind, "namespaced": True, "verbs": verbs}
    return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": version, "resources": [one]}


_VERSION = {"groupVersion": "jobset.x-k8s.io/v1alpha2", "version": "v1alpha2"}
_DISCOVERY: dict[str, dict[str, Any]] = {
    "/api": {"kind": "APIVersions", "versions": ["v1"]},
    "/apis": {
        "kind": "APIGroupList",
        "apiVersion": "v1",
        "groups": [{"name": "jobset.x-k8s.io", "versions": [_VERSION], "preferredVersion": _VERSION}],
    },
    "/api/v1": _resources("v1", "configmaps", "ConfigMap"),
    JOBSETS: _resources("jobset.x-k8s.io/v1alpha2", "jobsets", "JobSet"),
}


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tool: Callable[[str], str]) -> Iterator[Cluster]:
    """Serves a cluster that has the JobSet and the code of one launch, and writes the record of the launch."""
    tool("kubectl")
    found = Cluster()
    found.put(JOBSETS, "JobSet", "jobsets", NAME)
    found.put("/api/v1", "ConfigMap", "configmaps", f"{NAME}-code-1")

    class Handler(BaseHTTPRequestHandler):
        def respond(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            code, value = found.answer(self.command, self.path)
            content = json.dumps(value).encode()
            self.send_response(code)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_DELETE = respond

        def log_message(self, format: str, *args: Any) -> None:
            """Says nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "config"))
    point(tmp_path, server.server_address[1])
    records.write(BUCKET, "kubernetes", NAME, {"context": None, "namespace": "team"})
    yield found
    server.shutdown()
    server.server_close()


def point(tmp_path: Path, port: int) -> None:
    """Points kubectl at a port of this machine."""
    context = {"name": "here", "context": {"cluster": "here", "user": "ada"}}
    config = {
        "clusters": [{"name": "here", "cluster": {"server": f"http://127.0.0.1:{port}"}}],
        "contexts": [context],
        "users": [{"name": "ada", "user": {}}],
        "current-context": "here",
    }
    (tmp_path / "config").write_text(json.dumps(config))


@pytest.fixture
def stop(capfd: pytest.CaptureFixture[str]) -> Callable[[], tuple[int, str]]:
    """Runs `jaxbert launch stop`. Returns the exit code and what the user reads."""

    def run() -> tuple[int, str]:
        capfd.readouterr()
        code = main(["launch", "stop", "--workdir", BUCKET])
        said = capfd.readouterr()
        return code, said.out + said.err

    return run


def test_stop_removes_the_jobset_and_the_code(cluster: Cluster, stop: Callable[[], tuple[int, str]]):
    code, said = stop()
    assert code == 0 and f'jobset.jobset.x-k8s.io "{NAME}" deleted' in said, said
    assert f'configmap "{NAME}-code-1" deleted' in said and not cluster.objects and len(cluster.deleted) == 2
    assert "was told to stop, or had ended before" in said


def test_what_is_gone_already_is_no_error(cluster: Cluster, stop: Callable[[], tuple[int, str]]):
    cluster.objects.clear()
    code, said = stop()
    assert code == 0 and "Error" not in said and "was told to stop, or had ended before" in said, said


def test_who_may_not_delete_reads_so(cluster: Cluster, stop: Callable[[], tuple[int, str]]):
    cluster.forbidden = True
    code, said = stop()
    assert code == 3 and "Error from server (Forbidden)" in said and 'User "ada" cannot delete' in said, said
    assert "kubectl failed with exit code 1" in said and "E-LAUNCH-COMMAND" in said and "told to stop" not in said
    assert len(cluster.objects) == 2


def test_a_cluster_that_does_not_answer_is_an_error(cluster: Cluster, stop, tmp_path: Path):
    # Nothing listens on port 1.
    point(tmp_path, 1)
    code, said = stop()
    assert code == 3 and "127.0.0.1:1 was refused" in said and "E-LAUNCH-COMMAND" in said, said
    assert "told to stop" not in said and len(cluster.objects) == 2


def test_a_cluster_without_jobsets_is_an_error(cluster: Cluster, stop, monkeypatch: pytest.MonkeyPatch):
    """The context may be that of another cluster. Then the job goes on."""
    monkeypatch.setitem(_DISCOVERY, "/apis", {**_DISCOVERY["/apis"], "groups": []})
    code, said = stop()
    assert code == 3 and "the server doesn't have a resource type" in said and "E-LAUNCH-COMMAND" in said, said
