"""A JobSet in Google Kubernetes Engine, queued by Kueue, with one Job for each slice. Google recommends it for TPUs."""

from __future__ import annotations

import base64
import re
from argparse import ArgumentParser, Namespace
from collections.abc import Mapping
from pathlib import Path
from types import UnionType
from typing import Any

from jaxbert.errors import InputError

from . import machines
from .job import Command, Control, File, Request, Submission, Target
from .manifest import documents

# A ConfigMap may hold 1 MiB (kubernetes.io/docs/concepts/configuration/configmap).
_MOST_BYTES = 1_000_000
_POD = Path(__file__).with_name("gke_pod.sh")
_PORT = 8476
# Seconds between SIGTERM and SIGKILL. On spot nodes GKE gives 15 to 25 seconds only.
_GRACE_S = 120


class Gke(Target):
    """See `jaxbert.launch.job.Target`."""

    name = "gke"
    summary = "a JobSet on a cluster of Google Kubernetes Engine, queued by Kueue"
    kinds = ("tpu", "gpu")
    provider = "google"
    example = "--topology v5e:4x4 --queue tpu --image us-docker.pkg.dev/my-project/jaxbert/tpu:1"
    programs: Mapping[str, str] = {"kubectl": "Install kubectl."}
    names: Mapping[str, str] = {
        "image": "image",
        "queue": "dns",
        "context": "context",
        "namespace": "dns",
        "service_account": "dns",
        "priority_class": "dns",
    }
    remembered: Mapping[str, type | UnionType] = {"context": str | None, "namespace": str}

    def add_arguments(self, parser: ArgumentParser) -> None:
        """See `Target`."""
        parser.add_argument(
            "--image", required=True, help="the image that launch/Containerfile makes from the lock file"
        )
        parser.add_argument("--queue", required=True, help="the local queue of Kueue")
        parser.add_argument("--context", metavar="NAME", help="kubectl's context (default: the current one)")
        parser.add_argument("--namespace", default="default", help="namespace in the cluster (default: %(default)s)")
        parser.add_argument(
            "--service-account", metavar="NAME", help="a service account of Kubernetes with access to the bucket"
        )
        parser.add_argument("--priority-class", metavar="NAME", help="a WorkloadPriorityClass of Kueue")

    def chips(self) -> Mapping[str, str]:
        """See `Target`."""
        return {**machines.tpus(), **machines.GPUS}

    def submission(self, request: Request) -> Submission:
        """See `Target`."""
        options, place = request.options, request.place
        machines.check_slices(place)
        if len(request.archive.content) * 4 / 3 > _MOST_BYTES:
            raise InputError(
                f"the packed code has {len(request.archive.content):,} bytes, and a ConfigMap takes 750,000",
                where=request.archive.name,
                fix="Remove large files from the package's directories.",
                code="E-LAUNCH-CODE-SIZE",
            )
        for name, reference in request.secrets.items():
            if "/" not in reference:
                raise InputError(
                    "on this target, a secret comes from a key of a Kubernetes Secret",
                    where=f"--secret {name}",
                    fix=f"Write {name}=SECRET/KEY.",
                    code="E-LAUNCH-SECRET",
                )
        chips = machines.chips_per_host(place)
        code = request.folder / "code.yaml"
        job = request.folder / "jobset.yaml"
        spot = "spot " if request.spot else ""
        slices = f"{place.slices} slices of {place.name}" if place.slices > 1 else place.name
        queued = f"queue {options.queue}, namespace {options.namespace}"
        return Submission(
            creates=(
                f"JobSet {request.name}: {slices}, {place.hosts} pod{'s' if place.hosts > 1 else ''} of {chips} chips "
                f"on {spot}nodes",
                f"ConfigMap {_code_name(request)}: the code",
            ),
            where=f"{queued}, context {options.context or '(the current one)'}",
            resumes=f"exit 3, preemption or a lost node: all pods restart, {request.restarts} times at most, "
            "counted by the cluster in the JobSet; exit 1, 2 and 4 end the run",
            ends="the pods end with the run, and their nodes go back to the pool; the JobSet can be read for a day",
            files=(
                File(code, documents(self._code(request))),
                File(job, documents(self.jobset(request))),
            ),
            commands=(
                Command((*_kubectl(options), "apply", "--server-side", f"--filename={code}"), does="create the code"),
                Command((*_kubectl(options), "create", f"--filename={job}"), does="create the job"),
            ),
        )

    def _code(self, request: Request) -> dict[str, Any]:
        return {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {
                "name": _code_name(request),
                "namespace": request.options.namespace,
                "labels": {"app.kubernetes.io/name": "jaxbert", "jaxbert-job": request.name},
            },
            "immutable": True,
            "binaryData": {"code.tar.gz": base64.b64encode(request.archive.content).decode()},
        }

    def jobset(self, request: Request) -> dict[str, Any]:
        """Returns the JobSet (jobset.x-k8s.io/v1alpha2)."""
        place, options = request.place, request.options
        pods = machines.hosts(place)
        labels = {"app.kubernetes.io/name": "jaxbert", "kueue.x-k8s.io/queue-name": options.queue}
        if options.priority_class:
            labels["kueue.x-k8s.io/priority-class"] = options.priority_class
        # Each Job gets a separate node pool, because a node pool is one slice.
        annotations = {"alpha.jobset.sigs.k8s.io/exclusive-topology": "cloud.google.com/gke-nodepool"}
        job = {
            "parallelism": pods,
            "completions": pods,
            "completionMode": "Indexed",
            # When a pod fails, its Job fails, and with it the JobSet, which then restarts all pods.
            "backoffLimit": 0,
            "podFailurePolicy": {
                "rules": [
                    {
                        "action": "FailJob",
                        "onExitCodes": {"containerName": "jaxbert", "operator": "In", "values": [1, 2, 4]},
                    }
                ]
            },
            "template": {
                "metadata": {"labels": {"app.kubernetes.io/name": "jaxbert"}},
                "spec": self._pod(request),
            },
        }
        return {
            "apiVersion": "jobset.x-k8s.io/v1alpha2",
            "kind": "JobSet",
            "metadata": {
                "name": request.name,
                "namespace": options.namespace,
                "labels": labels,
                **({"annotations": annotations} if place.chip.kind == "tpu" else {}),
            },
            "spec": {
                "ttlSecondsAfterFinished": 86_400,
                "failurePolicy": {
                    "maxRestarts": request.restarts,
                    # A rule's name must not contain a hyphen.
                    "rules": [
                        {
                            "name": "repeatingDoesNotHelp",
                            "action": "FailJobSet",
                            "onJobFailureReasons": ["PodFailurePolicy"],
                        }
                    ],
                },
                "network": {"enableDNSHostnames": True},
                "replicatedJobs": [{"name": "run", "replicas": place.slices, "template": {"spec": job}}],
            },
        }

    def _pod(self, request: Request) -> dict[str, Any]:
        place, options = request.place, request.options
        pods, tpu = machines.hosts(place), place.chip.kind == "tpu"
        resource = "google.com/tpu" if tpu else "nvidia.com/gpu"
        if tpu:
            selector = {
                "cloud.google.com/gke-tpu-accelerator": machines.TPUS[place.chip.name].gke,
                "cloud.google.com/gke-tpu-topology": machines.shape(place),
            }
        else:
            selector = {"cloud.google.com/gke-accelerator": machines.GPUS[place.chip.name]}
        tolerations = [{"key": resource, "operator": "Exists", "effect": "NoSchedule"}]
        if request.spot:
            selector["cloud.google.com/gke-spot"] = "true"
            tolerations.append(
                {"key": "cloud.google.com/gke-spot", "operator": "Equal", "value": "true", "effect": "NoSchedule"}
            )
        config = request.archive.config
        arguments = [*request.arguments, f"--workdir={request.workdir}", *(["--distributed"] if tpu else [])]
        if config:
            arguments[0] = f"/tmp/jaxbert/{config}"
        chips = {resource: machines.chips_per_host(place)}
        pod: dict[str, Any] = {
            "restartPolicy": "Never",
            "terminationGracePeriodSeconds": _GRACE_S,
            "nodeSelector": selector,
            "tolerations": tolerations,
            "volumes": [
                {"name": "code", "configMap": {"name": _code_name(request)}},
                # Grain's workers hand batches over in shared memory; the container's own has 64 MiB.
                {"name": "shm", "emptyDir": {"medium": "Memory"}},
            ],
            "containers": [
                {
                    "name": "jaxbert",
                    "image": options.image,
                    "command": ["/bin/sh", "-c", _expandable(_POD.read_text(encoding="utf-8")), "jaxbert"],
                    "args": [_expandable(argument) for argument in arguments],
                    "env": self._environment(request, pods),
                    "ports": [{"containerPort": port} for port in ((8471, 8080) if tpu else (_PORT,))],
                    "resources": {"requests": chips, "limits": chips},
                    "volumeMounts": [
                        {"name": "code", "mountPath": "/jaxbert", "readOnly": True},
                        {"name": "shm", "mountPath": "/dev/shm"},
                    ],
                }
            ],
        }
        if options.service_account:
            pod["serviceAccountName"] = options.service_account
        if tpu and place.slices > 1:
            # The host network is the fast one between slices.
            pod |= {"hostNetwork": True, "dnsPolicy": "ClusterFirstWithHostNet"}
        return pod

    def _environment(self, request: Request, pods: int) -> list[dict[str, Any]]:
        place = request.place
        first = f"{request.name}-run-0-0.{request.name}"
        index = {"fieldRef": {"fieldPath": "metadata.labels['jobset.sigs.k8s.io/job-index']"}}
        found: list[dict[str, Any]] = [
            {"name": "JAXBERT_CODE_SHA256", "value": request.archive.sha256},
            {"name": "JAXBERT_JOB", "value": request.name},
            {"name": "PYTHONUNBUFFERED", "value": "1"},
        ]
        if place.chip.kind == "gpu":
            # GKE tells TPU hosts about each other, but not hosts with GPUs.
            found += [
                {"name": "JAXBERT_COORDINATOR", "value": f"{first}:{_PORT}"},
                {"name": "JAXBERT_PROCESSES", "value": str(pods * place.slices)},
                {"name": "JAXBERT_PODS", "value": str(pods)},
                {"name": "JAXBERT_JOB_INDEX", "valueFrom": index},
            ]
        elif place.slices > 1:
            found += [
                {"name": "MEGASCALE_COORDINATOR_ADDRESS", "value": first},
                {"name": "MEGASCALE_NUM_SLICES", "value": str(place.slices)},
                {"name": "MEGASCALE_SLICE_ID", "valueFrom": index},
            ]
        for name, reference in request.secrets.items():
            secret, _, key = reference.partition("/")
            found.append({"name": name, "valueFrom": {"secretKeyRef": {"name": secret, "key": key}}})
        return found

    def control(self, name: str, options: Namespace, *, follow: bool = False) -> Control:
        """See `Target`."""
        kubectl = _kubectl(options)
        mine = f"jobset.sigs.k8s.io/jobset-name={name}"
        first = f"{mine},jobset.sigs.k8s.io/job-index=0,batch.kubernetes.io/job-completion-index=0"
        return Control(
            status=(
                # A missing JobSet is an error here, because the context may be that of another cluster.
                Command((*kubectl, "get", "jobset", name)),
                Command((*kubectl, "get", "pods", f"--selector={mine}", "--output=wide")),
            ),
            logs=(Command((*kubectl, "logs", f"--selector={first}", "--tail=-1", *(["--follow"] if follow else []))),),
            stop=(
                Command((*kubectl, "delete", "jobset", name)),
                Command((*kubectl, "delete", "configmap", f"--selector=jaxbert-job={name}", "--ignore-not-found")),
            ),
        )


def _code_name(request: Request) -> str:
    return f"{request.name}-code-{request.archive.sha256[:12]}"


def _kubectl(options: Namespace) -> tuple[str, ...]:
    context = getattr(options, "context", None)
    return ("kubectl", *([f"--context={context}"] if context else []), f"--namespace={options.namespace}")


def _expandable(text: str) -> str:
    """Escapes `text` for commands and arguments, where Kubernetes expands $(NAME) and turns $$ into $."""
    return re.sub(r"\$(?=[$(])", "$$", text)
