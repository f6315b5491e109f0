"""A JobSet on any cluster of Kubernetes whose nodes have GPUs: EKS, AKS, one on premises. Kueue is not needed."""

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Mapping

from jaxbert.errors import InputError
from jaxbert.stores.schemes import WRITABLE

from . import machines
from .job import Request
from .jobset import JobSet, Network, Nodes


class Kubernetes(JobSet):
    """See `jaxbert.launch.job.Target`."""

    name = "kubernetes"
    summary = "a JobSet on any cluster of Kubernetes with GPUs: EKS, AKS, on premises"
    kinds = ("gpu",)
    example = "--topology h100:8 --image registry.example.com/jaxbert/cuda:1"
    buckets = WRITABLE
    names: Mapping[str, str] = {**JobSet.names, "gpu_resource": "resource", "resource": "quantity"}

    def add_arguments(self, parser: ArgumentParser) -> None:
        """See `Target`."""
        parser.add_argument("--queue", help="the local queue of Kueue, if the cluster has Kueue")
        super().add_arguments(parser)
        parser.add_argument(
            "--gpu-resource",
            default="nvidia.com/gpu",
            metavar="NAME",
            help="the resource by which the cluster counts its GPUs (default: %(default)s)",
        )
        parser.add_argument(
            "--resource",
            nargs="+",
            action="extend",
            default=[],
            metavar="NAME=N",
            help="other resources of each pod, such as network cards: rdma/ib=8, vpc.amazonaws.com/efa=32",
        )
        parser.add_argument("--host-network", action="store_true", help="let the pods use the network of their nodes")

    def nodes(self, request: Request) -> Nodes:
        """See `JobSet`."""
        place, options = request.place, request.options
        if request.spot:
            raise InputError(
                "in a cluster, labels and taints say which nodes may be taken away",
                where="--spot",
                fix="Give --node-selector and --toleration instead.",
                code="E-LAUNCH-OPTIONS",
            )
        more = dict(word.split("=", 1) for word in options.resource)
        if options.gpu_resource in more:
            raise InputError(
                "--topology says how many GPUs a pod has",
                where=f"--resource {options.gpu_resource}",
                fix="Remove it.",
                code="E-LAUNCH-OPTIONS",
            )
        machines.check_whole(options.gpu_resource, place, f"--gpu-resource {options.gpu_resource}")
        return Nodes(
            pods=machines.hosts(place),
            resource=options.gpu_resource,
            chips=machines.chips_per_host(place),
            more={name: int(count) if count.isdigit() else count for name, count in more.items()},
            tolerations=[{"key": options.gpu_resource, "operator": "Exists", "effect": "NoSchedule"}],
        )

    def network(self, request: Request, nodes: Nodes) -> Network:
        """See `JobSet`."""
        options = request.options
        # A network card that writes into the memory of a process needs that memory locked.
        return Network(
            host=options.host_network,
            words="the network of their nodes" if options.host_network else "",
            capabilities=("IPC_LOCK",) if nodes.more else (),
        )
