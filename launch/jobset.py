"""A JobSet of Kubernetes: the parts that the targets with JobSet share. A target adds nodes, network and options."""

from __future__ import annotations

import base64
import re
from abc import abstractmethod
from argparse import ArgumentParser, Namespace
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import UnionType
from typing import Any

from jaxbert.errors import InputError
from jaxbert.run.processes import COORDINATOR, LOCAL_ID, PROCESSES

from .devices import POOL, add_env, variables
from .job import Command, Control, File, Request, Submission, Target
from .manifest import documents

# A ConfigMap may hold 1 MiB of values (kubernetes.io/docs/concepts/configuration/configmap), which count as they are:
# base64 is only how YAML writes them.
_MOST_BYTES = 1_000_000
_POD = Path(__file__).with_name("pod.sh")
# The variables that this script sets.
_OF_POD = ("JAXBERT_PROCESS_ID", "PYTHONPATH")
_PORT = 8476
# Seconds between SIGTERM and SIGKILL. On spot nodes GKE gives 15 to 25 seconds only.
_GRACE_S = 120
# Directories of the image that pods need. A volume must not cover them.
_TAKEN = ("/bin", "/dev", "/etc", "/jaxbert", "/lib", "/opt", "/proc", "/root", "/run", "/sys", "/tmp", "/usr", "/var")


@dataclass(frozen=True)
class Nodes:
    """The nodes that a job asks for.

    Attributes:
      pods: number of pods of one slice, one for each of its machines.
      resource: the name of the chips in Kubernetes, for example "google.com/tpu".
      chips: number of chips of one pod.
      words: the nodes for the screen, for example "spot nodes".
      selector: labels that the nodes must have.
      tolerations: taints that the pods accept, in Kubernetes' form.
      more: other resources that each pod takes from its node: name -> quantity.
      annotations: annotations of the JobSet.
    """

    pods: int
    resource: str
    chips: int
    words: str = "nodes"
    selector: Mapping[str, str] = field(default_factory=dict)
    tolerations: Sequence[Mapping[str, str]] = ()
    more: Mapping[str, int | str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Network:
    """The network between the pods of a job.

    Attributes:
      host: whether the pods use the network of their nodes.
      words: the network for the screen; "" if it is the cluster's usual one.
      annotations: annotations of each pod.
      volumes: volumes of each pod, in Kubernetes' form.
      mounts: the places of these volumes in the container of the run.
      variables: environment variables of the run: name -> value.
      helpers: containers that run beside the run, in Kubernetes' form.
      capabilities: capabilities of Linux that the container of the run needs.
      profile: a script of the node that sets the variables of NCCL; "" if there is none.
    """

    host: bool = False
    words: str = ""
    annotations: Mapping[str, str] = field(default_factory=dict)
    volumes: Sequence[Mapping[str, Any]] = ()
    mounts: Sequence[Mapping[str, Any]] = ()
    variables: Mapping[str, str] = field(default_factory=dict)
    helpers: Sequence[Mapping[str, Any]] = ()
    capabilities: Sequence[str] = ()
    profile: str = ""


class JobSet(Target):
    """A target that creates a JobSet. See `jaxbert.launch.job.Target`."""

    takes_volumes = True
    programs: Mapping[str, str] = {"kubectl": "Install kubectl."}
    names: Mapping[str, str] = {
        "image": "image",
        "queue": "dns",
        "context": "context",
        "namespace": "dns",
        "service_account": "dns",
        "priority_class": "dns",
        "env": "setting",
        "volume": "volume",
        "node_selector": "node_label",
        "toleration": "toleration",
    }
    remembered: Mapping[str, type | UnionType] = {"context": str | None, "namespace": str}

    def add_arguments(self, parser: ArgumentParser) -> None:
        """See `Target`."""
        parser.add_argument(
            "--image", required=True, help="the image that launch/Containerfile makes from the lock file"
        )
        parser.add_argument("--context", metavar="NAME", help="kubectl's context (default: the current one)")
        parser.add_argument("--namespace", default="default", help="namespace in the cluster (default: %(default)s)")
        parser.add_argument(
            "--service-account", metavar="NAME", help="a service account of Kubernetes with access to the bucket"
        )
        parser.add_argument("--priority-class", metavar="NAME", help="a WorkloadPriorityClass of Kueue")
        add_env(parser)
        for option, metavar, text in (
            ("--volume", "CLAIM:/PATH", "mount a PersistentVolumeClaim, for rows and the workdir"),
            ("--node-selector", "KEY=VALUE", "take nodes with this label"),
            ("--toleration", "KEY[=VALUE][:EFFECT]", "also take nodes with this taint"),
        ):
            parser.add_argument(option, nargs="+", action="extend", default=[], metavar=metavar, help=text)

    def check(self, options: Namespace) -> None:
        """See `Target`."""
        super().check(options)
        volumes = [word.partition(":") for word in getattr(options, "volume", [])]
        for number, (claim, _, path) in enumerate(volumes):
            covered = next((taken for taken in _TAKEN if f"{path}/".startswith(f"{taken}/")), "")
            earlier = next(
                (other for _, _, other in volumes[:number] if _within(path, other) or _within(other, path)), ""
            )
            if covered or earlier:
                raise InputError(
                    f"the volume would cover {covered or earlier}"
                    + (", which the image needs" if covered else ", the place of another volume"),
                    where=f"--volume {claim}:{path}",
                    fix=f"Write for example {claim}:/data{number or ''}.",
                    code="E-LAUNCH-PATH",
                )

    def mounts(self, options: Namespace) -> tuple[str, ...]:
        """See `Target`."""
        return tuple(word.partition(":")[2] for word in options.volume)

    @abstractmethod
    def nodes(self, request: Request) -> Nodes:
        """Returns the nodes that the request needs.

        Raises:
          InputError: the cluster cannot have such nodes.
        """

    @abstractmethod
    def network(self, request: Request, nodes: Nodes) -> Network:
        """Returns the network between the pods."""

    def privileged(self, options: Namespace) -> bool:
        """Returns whether the container of the run gets all rights on its node."""
        return False

    def submission(self, request: Request) -> Submission:
        """See `Target`."""
        options, place = request.options, request.place
        nodes = self.nodes(request)
        if len(request.archive.content) > _MOST_BYTES:
            raise InputError(
                f"the packed code has {len(request.archive.content):,} bytes, and a ConfigMap takes {_MOST_BYTES:,}",
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
        network = self.network(request, nodes)
        code = request.folder / "code.yaml"
        job = request.folder / "jobset.yaml"
        slices = f"{place.slices} slices of {place.name}" if place.slices > 1 else place.name
        pods = nodes.pods * place.slices
        queue = f"queue {options.queue}, " if options.queue else ""
        by = f", joined by {network.words}" if network.words else ""
        return Submission(
            creates=(
                f"JobSet {request.name}: {slices}, {pods} pod{'s' if pods > 1 else ''} of {nodes.chips} "
                f"chip{'s' if nodes.chips > 1 else ''} on {nodes.words}{by}",
                f"ConfigMap {_code_name(request)}: the code",
            ),
            where=f"{queue}namespace {options.namespace}, context {options.context or '(the current one)'}",
            resumes=f"exit 3, preemption or a lost node: all pods restart, {request.restarts} times at most, "
            "counted by the cluster in the JobSet; exit 1, 2 and 4 end the run",
            ends=f"the pods end with the run, and {self.nodes_after}; the JobSet can be read for a day",
            files=(
                File(code, documents(self._code(request))),
                File(job, documents(self.jobset(request, nodes, network))),
            ),
            commands=(
                Command((*_kubectl(options), "apply", "--server-side", f"--filename={code}"), does="create the code"),
                Command((*_kubectl(options), "create", f"--filename={job}"), does="create the job"),
            ),
        )

    # The text of the screen about the nodes after the run.
    nodes_after: str = "the cluster decides what becomes of their nodes"

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

    def jobset(self, request: Request, nodes: Nodes, network: Network) -> dict[str, Any]:
        """Returns the JobSet (jobset.x-k8s.io/v1alpha2)."""
        place, options = request.place, request.options
        labels = {"app.kubernetes.io/name": "jaxbert"}
        if options.queue:
            labels["kueue.x-k8s.io/queue-name"] = options.queue
        if options.priority_class:
            labels["kueue.x-k8s.io/priority-class"] = options.priority_class
        job = {
            "parallelism": nodes.pods,
            "completions": nodes.pods,
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
                "metadata": {
                    "labels": {"app.kubernetes.io/name": "jaxbert"},
                    **({"annotations": dict(network.annotations)} if network.annotations else {}),
                },
                "spec": self._pod(request, nodes, network),
            },
        }
        return {
            "apiVersion": "jobset.x-k8s.io/v1alpha2",
            "kind": "JobSet",
            "metadata": {
                "name": request.name,
                "namespace": options.namespace,
                "labels": labels,
                **({"annotations": dict(nodes.annotations)} if nodes.annotations else {}),
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

    def _pod(self, request: Request, nodes: Nodes, network: Network) -> dict[str, Any]:
        options = request.options
        tpu = request.place.chip.kind == "tpu"
        config = request.archive.config
        arguments = [*request.arguments, f"--workdir={request.workdir}", *(["--distributed"] if tpu else [])]
        if config:
            arguments[0] = f"/tmp/jaxbert/{config}"
        resources = {nodes.resource: nodes.chips, **nodes.more}
        claims = [word.partition(":") for word in options.volume]
        selector = {**nodes.selector, **dict(word.split("=", 1) for word in options.node_selector)}
        security: dict[str, Any] = {"privileged": True} if self.privileged(options) else {}
        if network.capabilities:
            security["capabilities"] = {"add": list(network.capabilities)}
        pod: dict[str, Any] = {
            "restartPolicy": "Never",
            "terminationGracePeriodSeconds": _GRACE_S,
            **({"nodeSelector": selector} if selector else {}),
            "tolerations": [*map(dict, nodes.tolerations), *map(_toleration, options.toleration)],
            "volumes": [
                {"name": "code", "configMap": {"name": _code_name(request)}},
                # Grain's workers hand batches over in shared memory; the container's own has 64 MiB.
                {"name": "shm", "emptyDir": {"medium": "Memory"}},
                *(
                    {"name": f"volume-{number}", "persistentVolumeClaim": {"claimName": claim}}
                    for number, (claim, _, _) in enumerate(claims)
                ),
                *map(dict, network.volumes),
            ],
            **({"initContainers": list(network.helpers)} if network.helpers else {}),
            "containers": [
                {
                    "name": "jaxbert",
                    "image": options.image,
                    "command": ["/bin/sh", "-c", _expandable(_POD.read_text(encoding="utf-8")), "jaxbert"],
                    "args": [_expandable(argument) for argument in arguments],
                    "env": self._environment(request, nodes, network),
                    "ports": [{"containerPort": port} for port in ((8471, 8080) if tpu else (_PORT,))],
                    **({"securityContext": security} if security else {}),
                    "resources": {"requests": resources, "limits": resources},
                    "volumeMounts": [
                        {"name": "code", "mountPath": "/jaxbert", "readOnly": True},
                        {"name": "shm", "mountPath": "/dev/shm"},
                        *(
                            {"name": f"volume-{number}", "mountPath": path}
                            for number, (_, _, path) in enumerate(claims)
                        ),
                        *map(dict, network.mounts),
                    ],
                }
            ],
        }
        if options.service_account:
            pod["serviceAccountName"] = options.service_account
        if network.host:
            pod |= {"hostNetwork": True, "dnsPolicy": "ClusterFirstWithHostNet"}
        return pod

    def _environment(self, request: Request, nodes: Nodes, network: Network) -> list[dict[str, Any]]:
        """Returns the variables of the run. The target's own values win over the user's."""
        place = request.place
        index = {"fieldRef": {"fieldPath": "metadata.labels['jobset.sigs.k8s.io/job-index']"}}
        first = f"{request.name}-run-0-0.{request.name}"
        given = dict(word.split("=", 1) for word in request.options.env)
        devices = variables(place.chip.kind, nodes.chips * place.chip.devices, given)
        # The user may choose another share of the memory.
        usual = {"PYTHONUNBUFFERED": "1", **network.variables}
        if POOL in devices:
            usual[POOL] = devices.pop(POOL)
        own: dict[str, Any] = {
            "JAXBERT_CODE_SHA256": request.archive.sha256,
            "JAXBERT_JOB": request.name,
            # The run ends before its first step where jax finds other devices.
            **devices,
        }
        if place.chip.kind == "gpu":
            # GKE tells TPU hosts about each other, but not hosts with GPUs.
            own |= {
                COORDINATOR: f"{first}:{_PORT}",
                PROCESSES: str(nodes.pods * place.slices),
                LOCAL_ID: "0",
                "JAXBERT_PODS": str(nodes.pods),
                "JAXBERT_JOB_INDEX": index,
            }
        elif place.slices > 1:
            own |= {
                "MEGASCALE_COORDINATOR_ADDRESS": first,
                "MEGASCALE_NUM_SLICES": str(place.slices),
                "MEGASCALE_SLICE_ID": index,
            }
        if network.profile:
            own["JAXBERT_PROFILE"] = network.profile
        for name in given:
            if name in own or name in _OF_POD or name in request.secrets:
                raise InputError(
                    "a secret has the same name" if name in request.secrets else "the launcher sets this variable",
                    where=f"--env {name}",
                    fix="Remove it.",
                    code="E-LAUNCH-OPTIONS",
                )
        # `launch` refuses secrets with the launcher's own names.
        for name, reference in request.secrets.items():
            secret, _, key = reference.partition("/")
            own[name] = {"secretKeyRef": {"name": secret, "key": key}}
            # The value of the secret takes the place of the usual one.
            usual.pop(name, None)
        values = {**usual, **given}
        return [
            *({"name": name, "value": value} for name, value in own.items() if isinstance(value, str)),
            *({"name": name, "value": _expandable(value)} for name, value in values.items()),
            *({"name": name, "valueFrom": value} for name, value in own.items() if not isinstance(value, str)),
        ]

    def control(self, name: str, options: Namespace, *, follow: bool = False) -> Control:
        """See `Target`."""
        kubectl = _kubectl(options)
        mine = f"jobset.sigs.k8s.io/jobset-name={name}"
        first = f"{mine},jobset.sigs.k8s.io/job-index=0,batch.kubernetes.io/job-completion-index=0"
        shown = ("--container=jaxbert", "--tail=-1", *(["--follow"] if follow else []))
        return Control(
            status=(
                # A missing JobSet is an error here, because the context may be that of another cluster.
                Command((*kubectl, "get", "jobset", name)),
                Command((*kubectl, "get", "pods", f"--selector={mine}", "--output=wide")),
            ),
            logs=(Command((*kubectl, "logs", f"--selector={first}", *shown)),),
            stop=(
                # The cluster removes a JobSet a day after its end, but not the ConfigMap.
                Command((*kubectl, "delete", "jobset", name, "--ignore-not-found")),
                Command((*kubectl, "delete", "configmap", f"--selector=jaxbert-job={name}", "--ignore-not-found")),
            ),
        )


def _within(path: str, directory: str) -> bool:
    return f"{path}/".startswith(f"{directory}/")


def _toleration(word: str) -> dict[str, str]:
    """Returns the toleration that KEY[=VALUE][:EFFECT] names."""
    rest, _, effect = word.partition(":")
    key, equal, value = rest.partition("=")
    found = {"key": key, "operator": "Equal", "value": value} if equal else {"key": key, "operator": "Exists"}
    return {**found, **({"effect": effect} if effect else {})}


def _code_name(request: Request) -> str:
    return f"{request.name}-code-{request.archive.sha256[:12]}"


def _kubectl(options: Namespace) -> tuple[str, ...]:
    context = getattr(options, "context", None)
    return ("kubectl", *([f"--context={context}"] if context else []), f"--namespace={options.namespace}")


def _expandable(text: str) -> str:
    """Escapes `text` for commands, arguments and variables, where Kubernetes expands $(NAME) and turns $$ into $."""
    return re.sub(r"\$(?=[$(])", "$$", text)
