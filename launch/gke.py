"""A JobSet in Google Kubernetes Engine, queued by Kueue, with one Job for each slice. Google recommends it for TPUs."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Mapping
from dataclasses import replace

from jaxbert.errors import InputError

from . import capacity, environments, fabric, machines
from .job import Request
from .jobset import JobSet, Network, Nodes

# Chips of the machines of which a slice of eight chips has two.
_TWO_HOSTS = 4


class Gke(JobSet):
    """See `jaxbert.launch.job.Target`."""

    name = "gke"
    summary = "a JobSet on a cluster of Google Kubernetes Engine, queued by Kueue"
    kinds = ("tpu", "gpu")
    provider = "google"
    example = "--topology v5e:4x4 --queue tpu --image us-docker.pkg.dev/my-project/jaxbert/tpu:1"
    names: Mapping[str, str] = {
        **JobSet.names,
        "machine_type": "word",
        "gpu_networks": "dns",
        "max_run_duration": "duration",
        "reservation": "network",
    }
    nodes_after = "their nodes go back to the pool"

    def add_arguments(self, parser: ArgumentParser) -> None:
        """See `Target`."""
        parser.add_argument("--queue", required=True, help="the local queue of Kueue")
        super().add_arguments(parser)
        capacity.add_arguments(parser)
        parser.add_argument(
            "--machine-type", metavar="M", help="machine type of the nodes, if the chip has several: a3-megagpu-8g"
        )
        networks = parser.add_mutually_exclusive_group()
        networks.add_argument(
            "--host-network",
            action="store_true",
            help="join machines with GPUs by the network of their nodes, not by GPUDirect",
        )
        networks.add_argument(
            "--gpudirect",
            choices=fabric.NAMES,
            help="join machines with GPUs by this network (default: that of the machine type, if Google qualifies the "
            "NCCL of the lock file for it)",
        )
        parser.add_argument(
            "--gpu-networks",
            nargs="+",
            metavar="NAME",
            help="the cluster's Network objects for GPUDirect (default: the names in Google's documents)",
        )
        parser.add_argument(
            "--privileged", action="store_true", help="run TPU pods with all rights, which GKE before 1.28 needs"
        )

    def chips(self) -> Mapping[str, str]:
        """See `Target`."""
        return {**machines.tpus(), **machines.GPUS}

    def nodes(self, request: Request) -> Nodes:
        """See `JobSet`."""
        place, options = request.place, request.options
        capacity.check(options, spot=request.spot)
        machine = options.machine_type
        if place.chip.kind == "tpu":
            tpu = machines.TPUS[place.chip.name]
            per_host = machines.chips_per_host(place, machine)
            pods = place.slice_chips // per_host
            if pods == 1 or not tpu.multislice:
                two = tpu.machine.get(_TWO_HOSTS, "") if per_host > _TWO_HOSTS else ""
                machines.check_slices(place, f" Or give --machine-type {two}." if two else "")
            if options.flex_start and not tpu.flex_start:
                raise InputError(
                    f"GKE has no {place.chip.name} by flex-start",
                    where="--flex-start",
                    fix="Remove it, or take v5e, v5p or v6e.",
                    code="E-LAUNCH-TOPOLOGY",
                )
            resource, chips = "google.com/tpu", per_host
            selector = {
                "cloud.google.com/gke-tpu-accelerator": machines.gke_tpu(place),
                "cloud.google.com/gke-tpu-topology": machines.shape(place),
            }
            # Each Job gets a separate node pool, because a node pool is one slice.
            annotations = {"alpha.jobset.sigs.k8s.io/exclusive-topology": "cloud.google.com/gke-nodepool"}
        else:
            resource, chips, pods = "nvidia.com/gpu", machines.chips_per_host(place), machines.hosts(place)
            selector = {"cloud.google.com/gke-accelerator": machines.gpu(place, machine)[0]}
            annotations = {}
        if machine:
            selector["node.kubernetes.io/instance-type"] = machine
        tolerations = [{"key": resource, "operator": "Exists", "effect": "NoSchedule"}]
        words = "nodes"
        if request.spot:
            words = "spot nodes"
            selector["cloud.google.com/gke-spot"] = "true"
            tolerations.append(
                {"key": "cloud.google.com/gke-spot", "operator": "Equal", "value": "true", "effect": "NoSchedule"}
            )
        elif options.flex_start:
            words = "flex-start nodes"
            selector["cloud.google.com/gke-flex-start"] = "true"
            # The second taint is that of queued provisioning, where all nodes of a job come together.
            for key in ("cloud.google.com/gke-flex-start", "cloud.google.com/gke-queued"):
                tolerations.append({"key": key, "operator": "Exists", "effect": "NoSchedule"})
            # Kueue passes it on when it asks for the nodes.
            annotations["provreq.kueue.x-k8s.io/maxRunDurationSeconds"] = str(capacity.run_seconds(options))
        elif options.reservation:
            words = f"nodes of the reservation {options.reservation}"
            selector["cloud.google.com/reservation-name"] = options.reservation
            tolerations.append(
                {"key": "cloud.google.com/reservation-name", "operator": "Exists", "effect": "NoSchedule"}
            )
        return Nodes(
            pods=pods,
            resource=resource,
            chips=chips,
            words=words,
            selector=selector,
            tolerations=tolerations,
            annotations=annotations,
        )

    def network(self, request: Request, nodes: Nodes) -> Network:
        """See `JobSet`."""
        place, options = request.place, request.options
        if place.chip.kind == "tpu":
            # The host network is the fast one between slices.
            return Network(host=place.slices > 1)
        # GKE's device plugin puts the driver there, and GKE's documents ask for the variable.
        driver = {"LD_LIBRARY_PATH": fabric.LIBRARIES}
        if nodes.pods * place.slices == 1:
            return Network(variables=driver)
        _, name = machines.gpu(place, options.machine_type)
        if options.gpudirect not in (None, name):
            raise InputError(
                f"machines of {place.name} are joined by {name}" if name else "these machines have no GPUDirect",
                where=f"--gpudirect {options.gpudirect}",
                fix="Leave it out, or give the --machine-type of other machines.",
                code="E-LAUNCH-OPTIONS",
            )
        nccl = environments.nccl(request.archive.lock)
        if options.host_network or not name or (options.gpudirect is None and fabric.by_name(name, nccl)):
            if options.gpu_networks:
                raise InputError(
                    "the job uses the network of its nodes, and not these networks",
                    where="--gpu-networks",
                    fix=f"Add --gpudirect {name}, or remove it." if name else "Remove it.",
                    code="E-LAUNCH-OPTIONS",
                )
            other = "" if options.host_network or not name else f"; for {name}, add --gpudirect {name}"
            more = f"{other}{fabric.compared(name, nccl)}" if other else ""
            return Network(host=True, words=f"the network of their nodes{more}", variables=driver)
        usual = fabric.usual_networks(name)
        networks = options.gpu_networks or usual
        if len(networks) != len(usual):
            raise InputError(
                f"{name} joins machines by {len(usual)} networks, and {len(networks)} are given",
                where="--gpu-networks",
                fix=f"Give {len(usual)} names, for example {' '.join(usual)}.",
                code="E-LAUNCH-OPTIONS",
            )
        found = fabric.fabric(name, networks, nccl)
        return replace(found, variables={**driver, **found.variables})

    def privileged(self, options: Namespace) -> bool:
        """See `JobSet`."""
        return bool(options.privileged)
