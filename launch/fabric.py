"""The networks that join the GPUs of several machines in GKE, past the kernels of the machines.

Sources: the test pods, installers and release notes in github.com/GoogleCloudPlatform/container-engine-accelerators
(gpudirect-tcpx, gpudirect-tcpxo, gpudirect-rdma), and the decorators of github.com/AI-Hypercomputer/xpk
(src/xpk/core/workload_decorators). The node's installer and the helper must be of one
release: this file names the helper, and the installer of that release is in docs/how-to/launch.md.

The pods use the names of interfaces and networks of those test pods. A cluster with other names of networks needs
--gpu-networks.

Google qualifies a plugin with one release of NCCL, and the lock files have a newer one. jax's plugin loads that of the
lock file: its shared library has an RPATH to the directory of the wheel, which goes before LD_LIBRARY_PATH (readelf -d
of xla_cuda_plugin.so in jax-cuda12-pjrt 0.10.2 and jax-cuda13-pjrt 0.12.0.1).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from .jobset import Network

# GKE puts the driver's libraries here, and the installers add NCCL and its plugins.
LIBRARIES = "/usr/local/nvidia/lib64"
_HELPERS = "us-docker.pkg.dev/gce-ai-infra"
_DEVICES = (*(f"/dev/nvidia{number}" for number in range(8)), "/dev/nvidiactl", "/dev/nvidia-uvm")
# NCCL's settings for TCPX, from the release notes of 22 June 2026. TCPXO and RDMA bring theirs as a script.
_TCPX = {
    "NCCL_SOCKET_IFNAME": "eth0",
    "NCCL_ALGO": "Ring,Tree",
    "NCCL_PROTO": "Simple",
    "NCCL_CROSS_NIC": "0",
    "NCCL_NET_GDR_LEVEL": "PIX",
    "NCCL_P2P_PXN_LEVEL": "0",
    "NCCL_GPUDIRECTTCPX_SOCKET_IFNAME": "eth1,eth2,eth3,eth4",
    "NCCL_GPUDIRECTTCPX_CTRL_DEV": "eth0",
    "NCCL_GPUDIRECTTCPX_UNIX_CLIENT_PREFIX": "/run/tcpx",
    "NCCL_DYNAMIC_CHUNK_SIZE": "524288",
    "NCCL_P2P_NET_CHUNKSIZE": "524288",
    "NCCL_P2P_PCI_CHUNKSIZE": "524288",
    "NCCL_P2P_NVL_CHUNKSIZE": "1048576",
    "NCCL_BUFFSIZE": "4194304",
    "NCCL_NSOCKS_PERTHREAD": "4",
    "NCCL_SOCKET_NTHREADS": "1",
    "NCCL_GPUDIRECTTCPX_TX_BINDINGS": "eth1:8-21,112-125;eth2:8-21,112-125;eth3:60-73,164-177;eth4:60-73,164-177",
    "NCCL_GPUDIRECTTCPX_RX_BINDINGS": "eth1:22-35,126-139;eth2:22-35,126-139;eth3:74-87,178-191;eth4:74-87,178-191",
    "NCCL_GPUDIRECTTCPX_PROGRAM_FLOW_STEERING_WAIT_MICROS": "500000",
}


def _interfaces(numbers: Sequence[int], networks: Sequence[str]) -> dict[str, str]:
    """Returns the annotations that give a pod eth0 and one more interface for each network."""
    pairs = [(0, "default"), *zip(numbers, networks, strict=True)]
    listed = [{"interfaceName": f"eth{number}", "network": network} for number, network in pairs]
    return {
        "networking.gke.io/default-interface": "eth0",
        "networking.gke.io/interfaces": json.dumps(listed),
    }


def _host_path(name: str, path: str) -> dict[str, Any]:
    return {"name": name, "hostPath": {"path": path}}


def _mount(name: str, path: str) -> dict[str, Any]:
    return {"name": name, "mountPath": path}


def _helper(name: str, image: str, command: Sequence[str], capabilities: Sequence[str], *mounts: Any) -> dict[str, Any]:
    """Returns a container that runs beside the run: Kubernetes stops it when the run ends (restartPolicy: Always)."""
    return {
        "name": name,
        "image": f"{_HELPERS}/{image}",
        "restartPolicy": "Always",
        "command": list(command),
        "securityContext": {"capabilities": {"add": list(capabilities)}},
        "env": [{"name": "LD_LIBRARY_PATH", "value": LIBRARIES}],
        "volumeMounts": [
            _mount("nvidia", LIBRARIES),
            _mount("host-sys", "/hostsysfs"),
            _mount("host-proc-sys", "/hostprocsysfs"),
            *mounts,
        ],
    }


def _device_list(paths: Sequence[str]) -> str:
    """Returns the value of GKE's annotation that gives a container devices of the node: a list in YAML."""
    return "".join(f"- path: {path}\n" for path in paths)


_OF_THE_NODE = (
    _host_path("nvidia", "/home/kubernetes/bin/nvidia/lib64"),
    _host_path("host-sys", "/sys"),
    _host_path("host-proc-sys", "/proc/sys"),
)


def _tcpx(networks: Sequence[str]) -> Network:
    command = ("/tcpgpudmarxd/build/app/tcpgpudmarxd", "--gpu_nic_preset", "a3vm", "--gpu_shmem_type", "fd")
    socket = _mount("tcpx-socket", "/run/tcpx")
    return Network(
        words="GPUDirect-TCPX",
        annotations={
            **_interfaces(range(1, 5), networks),
            "devices.gke.io/container.tcpx-daemon": _device_list(_DEVICES),
        },
        volumes=(*_OF_THE_NODE, _host_path("tcpx-socket", "/run/tcpx")),
        mounts=(_mount("nvidia", LIBRARIES), socket),
        variables=_TCPX,
        helpers=(
            _helper(
                "tcpx-daemon",
                "gpudirect-tcpx/tcpgpudmarxd-dev:v2.0.15",
                (*command, "--uds_path", "/run/tcpx", "--setup_param", '"--verbose 128 2 0 "'),
                ("NET_ADMIN",),
                socket,
            ),
        ),
        # The plugin locks the memory that the network cards write to.
        capabilities=("IPC_LOCK",),
    )


def _tcpxo(networks: Sequence[str]) -> Network:
    start = "set -e\nchmod 755 /fts/entrypoint_rxdm_container.sh\nexec /fts/entrypoint_rxdm_container.sh --num_hops=2\n"
    return Network(
        words="GPUDirect-TCPXO",
        annotations={
            **_interfaces(range(1, 9), networks),
            "devices.gke.io/container.tcpxo-daemon": _device_list((*_DEVICES, "/dev/dmabuf_import_helper")),
        },
        volumes=(*_OF_THE_NODE, _host_path("aperture-devices", "/dev/aperture_devices")),
        mounts=(_mount("nvidia", LIBRARIES), _mount("aperture-devices", "/dev/aperture_devices")),
        variables={
            "NCCL_FASTRAK_LLCM_DEVICE_DIRECTORY": "/dev/aperture_devices",
            # The script of the profile reads it.
            "NCCL_LIB_DIR": LIBRARIES,
        },
        helpers=(
            _helper(
                "tcpxo-daemon",
                "gpudirect-tcpxo/tcpgpudmarxd-dev:v1.0.21",
                ("/bin/sh", "-c", start),
                ("NET_ADMIN", "NET_BIND_SERVICE"),
            ),
        ),
        profile=f"{LIBRARIES}/nccl-env-profile.sh",
    )


def _rdma(networks: Sequence[str]) -> Network:
    return Network(
        words="GPUDirect-RDMA",
        # eth1 is the second card of the node for ordinary traffic, which the pods do not use.
        annotations=_interfaces(range(2, 10), networks),
        volumes=(_host_path("nvidia", "/home/kubernetes/bin/nvidia"), _host_path("gib", "/home/kubernetes/bin/gib")),
        mounts=(_mount("nvidia", "/usr/local/nvidia"), _mount("gib", "/usr/local/gib")),
        profile="/usr/local/gib/scripts/set_nccl_env.sh",
    )


# Fabric -> (function that makes it, the names of the networks in Google's documents).
_FABRICS: Mapping[str, tuple[Callable[[Sequence[str]], Network], tuple[str, ...]]] = {
    "tcpx": (_tcpx, tuple(f"vpc{number}" for number in range(1, 5))),
    "tcpxo": (_tcpxo, tuple(f"vpc{number}" for number in range(1, 9))),
    "rdma": (_rdma, tuple(f"rdma-{number}" for number in range(8))),
}
NAMES = tuple(_FABRICS)
# Fabric -> the release of NCCL that Google qualifies, as the release notes of the versions above say: of 22 June 2026
# for TCPX, of 9 January 2026 for TCPXO. Those of RDMA name none.
QUALIFIED: Mapping[str, str] = {"tcpx": "2.19.4", "tcpxo": "2.28.7"}


def by_name(name: str, nccl: str) -> bool:
    """Returns whether a job gets the fabric `name` only if --gpudirect names it.

    This is so where Google qualifies the fabric with another release of NCCL than that of the lock file, because others
    saw such a pair fail: machines with TCPX did not connect with NCCL 2.21.5
    (github.com/GoogleCloudPlatform/container-engine-accelerators/issues/414).
    """
    return bool(compared(name, nccl))


def usual_networks(name: str) -> tuple[str, ...]:
    """Returns the names that Google's documents give the networks of the fabric `name`."""
    return _FABRICS[name][1]


def fabric(name: str, networks: Sequence[str], nccl: str) -> Network:
    """Returns the network of the fabric `name`.

    Args:
      name: one of `NAMES`.
      networks: the names of the cluster's Network objects, as many as `usual_networks(name)` has.
      nccl: the release of NCCL in the job's lock file; "" if there is none.
    """
    found = _FABRICS[name][0](networks)
    return replace(found, words=f"{found.words}{compared(name, nccl)}")


def compared(name: str, nccl: str) -> str:
    """Returns the release of NCCL that Google qualifies for a fabric and that of the lock file, for the screen."""
    qualified = QUALIFIED.get(name, "")
    if not qualified or not nccl or nccl == qualified:
        return ""
    return f" (Google qualifies it with NCCL {qualified}, and the lock file has NCCL {nccl})"
