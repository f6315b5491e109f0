"""Checks task files with SkyPilot: `HOME=DIRECTORY python sky_check.py TASK.yaml ...`, with SkyPilot's Python.

The exit code is 0 if SkyPilot accepts the files, else 1 with its complaint. The program reads and validates a file as
`sky jobs launch` does before its request to the API server, and as the server does. It sends nothing, and writes only
under HOME. File mounts must exist. SkyPilot downloads a catalog of accelerators; this program replaces it by a few rows
like those of github.com/skypilot-org/skypilot-catalog, so an accelerator, region or zone that they lack is refused.
"""

import os
import pathlib
import socket
import sys
from typing import Any

# sky reads these variables when it is imported.
os.environ.update(SKYPILOT_DISABLE_USAGE_COLLECTION="1", IS_SKYPILOT_SERVER="true")

TPUS = {  # Sizes and zones by generation.
    "v3": ([8, 32, 64, 128], ["us-central1-a", "europe-west4-a"]),
    "v4": ([8, 16, 32, 64, 128], ["us-central2-b"]),
    "v5litepod": ([1, 4, 8, 16, 32, 64, 128, 256], ["us-west4-b", "us-west1-c", "europe-west4-b"]),
    "v5p": ([8, 16, 32, 64, 128, 256], ["us-east5-a", "us-central1-a", "europe-west4-b"]),
    "v6e": ([1, 4, 8, 16, 32, 64, 128, 256], ["us-east5-a", "us-east5-b", "us-central1-a", "europe-west4-a"]),
}
GPUS = {  # Machine type, CPUs, memory, and GPUs, by accelerator.
    "H100": [("a3-highgpu-1g", 26, 234, 1), ("a3-highgpu-8g", 208, 1872, 8)],
    "H200": [("a3-ultragpu-8g", 224, 2952, 8)],
    "A100-80GB": [("a2-ultragpu-1g", 12, 170, 1), ("a2-ultragpu-8g", 96, 1360, 8)],
    "A100": [("a2-highgpu-1g", 12, 85, 1), ("a2-highgpu-8g", 96, 680, 8)],
    "L4": [("g2-standard-4", 4, 16, 1)],
}


def catalog() -> dict[str, str]:
    """Returns the files of the catalog: path -> text."""
    names = "".join(f"{name},\"['GCP', 'AWS']\"\n" for name in GPUS)
    names += "".join(f"tpu-{name},['GCP']\n" for name in TPUS)
    rows = "InstanceType,vCPUs,MemoryGiB,AcceleratorName,AcceleratorCount,GpuInfo,Region,AvailabilityZone,Price,"
    rows += "SpotPrice\n"
    for generation, (sizes, zones) in TPUS.items():
        rows += "".join(
            f",,,tpu-{generation}-{size},1,tpu-{generation}-{size},{zone[:-2]},{zone},{size},{size / 2}\n"
            for size in sizes
            for zone in zones
        )
    for zone in ("us-central1-a", "us-east5-a", "europe-west4-b"):
        for name, machines in GPUS.items():
            for machine, cpus, memory, count in machines:
                rows += f"{machine},{cpus},{memory},,,,{zone[:-2]},{zone},1.0,0.5\n"
                rows += f',,,{name},{count},"{{}}",{zone[:-2]},{zone},1.0,0.5\n'
        rows += f"n2-standard-8,8,32,,,,{zone[:-2]},{zone},0.4,0.1\n"
    return {
        "common/accelerators.csv": "AcceleratorName,Clouds\n" + names,
        "gcp/vms.csv": rows,
        "gcp/images.csv": "Tag,Region,OS,OSVersion,ImageId,CreationDate\n",
        "gcp/accelerator_quota_mapping.csv": "AcceleratorName,InstanceType,RegionQuota,SpotQuota\n",
        "kubernetes/images.csv": "Tag,Region,OS,OSVersion,ImageId,CreationDate\n",
    }


def refuse(*_: Any, **__: Any) -> None:
    """Replaces the functions that open connections."""
    raise OSError("sky_check makes no connection")


def _checked(sky: Any, gcp_catalog: Any, registry: Any, path: str) -> int:
    """Returns 0, or 1 with a complaint on stderr if SkyPilot refuses the file."""
    try:
        task = sky.Task.from_yaml(path)
        task.validate()
        for resources in task.resources:
            for name, count in (resources.accelerators or {}).items():
                # Validation does not look the accelerator up. A launch does, when it looks for a machine.
                regions = gcp_catalog.get_region_zones_for_accelerators(name, count, resources.use_spot)
                zones = {zone.name: region.name for region in regions for zone in region.zones}
                if str(resources.cloud) == "GCP" and not any(
                    resources.zone in (None, zone) and resources.region in (None, region)
                    for zone, region in zones.items()
                ):
                    raise ValueError(f"no {name}:{count} in {resources.infra} in the catalog")
            recovery = resources.job_recovery or {}
            if recovery.get("strategy"):
                registry.JOBS_RECOVERY_STRATEGY_REGISTRY.from_str(recovery["strategy"])
    except Exception as error:
        print(f"{path}: {type(error).__name__}: {' '.join(str(error).split())}", file=sys.stderr)
        return 1
    return 0


def main(paths: list[str]) -> int:
    """Reads and validates task files."""
    socket.getaddrinfo = socket.create_connection = socket.socket.connect = refuse  # type: ignore[assignment]
    try:
        from sky.skylet import constants

        root = pathlib.Path.home() / ".sky" / "catalogs" / constants.CATALOG_SCHEMA_VERSION
        for name, text in catalog().items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(text)
        import sky
        from sky.catalog import gcp_catalog
        from sky.server import plugins
        from sky.utils import registry

        # On a server that has loaded its plug-ins, an unknown field of job_recovery is an error.
        plugins.plugins_loaded = lambda: True
        from sky.jobs import recovery_strategy  # noqa: F401  (registers the strategies)

        return max([_checked(sky, gcp_catalog, registry, path) for path in paths])
    except Exception as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
