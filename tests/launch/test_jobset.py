"""The targets with JobSet: devices, networks between machines, capacity, volumes, and any cluster of Kubernetes."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from jaxbert.launch import TARGETS, fabric, records

from jaxbert.plan.topologies import GPU_POOL_FRACTION
from tests.launch.conftest import BUCKET
from tests.launch.test_targets import pod, sent

ON_VOLUME = ("--workdir", "/data/base", "--data", "seq128:/data/rows-128", "seq512:/rows/rows-512")
VOLUMES = ("--volume", "runs-claim:/data", "rows-claim:/rows")


def variables(one: dict[str, Any]) -> dict[str, str]:
    """Returns the variables of the run, without those that Kubernetes fills in."""
    return {found["name"]: found["value"] for found in one["containers"][0]["env"] if "value" in found}


def template(files: dict[str, bytes]) -> dict[str, Any]:
    spec = yaml.safe_load(files["jobset.yaml"])["spec"]
    return spec["replicatedJobs"][0]["template"]["spec"]["template"]


# --- Devices ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("target", "more", "platform", "devices"),
    [
        ("gke", ["--topology", "v5p:4x4x4"], "tpu", "4"),
        ("gke", ["--topology", "v6e:2x4"], "tpu", "8"),
        ("gke", ["--topology", "v6e:2x4", "--machine-type", "ct6e-standard-4t"], "tpu", "4"),
        # jax makes two devices of one chip.
        ("gke", ["--topology", "tpu7x:2x2x2"], "tpu", "8"),
        ("gke", ["--topology", "h100:8", "--slices", "2"], "gpu", "8"),
        ("kubernetes", ["--topology", "h200:4"], "gpu", "4"),
    ],
)
def test_a_pod_says_which_devices_it_wants(target, more, platform, devices, launch, programs, tmp_path: Path):
    found = variables(pod(sent(launch, target, tmp_path, *more)))
    assert (found["JAXBERT_PLATFORM"], found["JAXBERT_DEVICES"]) == (platform, devices)
    # Each pod has the GPUs of one process, so that they are numbered from 0 in every pod.
    assert found.get("JAXBERT_LOCAL_ID") == ("0" if platform == "gpu" else None)


def test_gpus_find_their_driver_and_take_the_memory_that_the_plan_counts(launch, programs, tmp_path: Path):
    found = variables(pod(sent(launch, "gke", tmp_path, "--topology", "h100:8")))
    assert found["LD_LIBRARY_PATH"] == "/usr/local/nvidia/lib64"
    assert float(found["XLA_CLIENT_MEM_FRACTION"]) == GPU_POOL_FRACTION
    # NVIDIA's container toolkit puts the driver on the usual path of other clusters.
    assert "LD_LIBRARY_PATH" not in variables(pod(sent(launch, "kubernetes", tmp_path)))
    assert not {"LD_LIBRARY_PATH", "XLA_CLIENT_MEM_FRACTION"} & set(variables(pod(sent(launch, "gke", tmp_path))))


def test_the_users_variables_take_the_place_of_the_usual_ones(launch, programs, tmp_path: Path):
    more = ("--topology", "h100:8", "--env", "XLA_CLIENT_MEM_FRACTION=0.5", "NCCL_DEBUG=a $(b)")
    found = variables(pod(sent(launch, "gke", tmp_path, *more)))
    assert found["XLA_CLIENT_MEM_FRACTION"] == "0.5" and found["NCCL_DEBUG"] == "a $$(b)"
    found = variables(pod(sent(launch, "gke", tmp_path, *more[:3], "XLA_PYTHON_CLIENT_MEM_FRACTION=0.5")))
    assert found["XLA_PYTHON_CLIENT_MEM_FRACTION"] == "0.5" and "XLA_CLIENT_MEM_FRACTION" not in found


@pytest.mark.parametrize(
    ("more", "word"),
    [
        (["--env", "JAXBERT_PLATFORM=cpu"], r"--env JAXBERT_PLATFORM.*E-LAUNCH-OPTIONS"),
        (["--env", "A=1", "--secret", "A=hub/token"], r"secret.*--env A.*E-LAUNCH-OPTIONS"),
        (["--env", "A"], r"'A'.*--env.*E-LAUNCH-NAME"),
        (["--env", "PYTHONPATH=/a"], r"launcher sets.*--env PYTHONPATH.*E-LAUNCH-OPTIONS"),
        (["--secret", "JAXBERT_PLATFORM=s/k"], r"engine sets.*--secret JAXBERT_PLATFORM.*E-LAUNCH-SECRET"),
        (["--topology", "v5e:4x4", "--slices", "2", "--secret", "MEGASCALE_SLICE_ID=s/k"], r"E-LAUNCH-SECRET"),
    ],
)
def test_variables_that_are_taken_are_refused(more, word: str, launch, programs):
    code, said = launch("gke", *more, "--yes")
    assert code == 2 and re.search(word, said) and programs() == [], said


def test_a_secret_takes_the_place_of_a_usual_variable(launch, programs, tmp_path: Path):
    more = ("--topology", "h100:8", "--secret", "LD_LIBRARY_PATH=s/k", "XLA_CLIENT_MEM_FRACTION=s/share")
    listed = [found["name"] for found in pod(sent(launch, "gke", tmp_path, *more))["containers"][0]["env"]]
    assert len(listed) == len(set(listed)) and {"LD_LIBRARY_PATH", "XLA_CLIENT_MEM_FRACTION"} <= set(listed)


# --- Networks between machines ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("more", "label", "name", "cards", "helper"),
    [
        (["--topology", "h100:8", "--gpudirect", "tcpx"], "nvidia-h100-80gb", "tcpx", 4, "tcpx-daemon"),
        (
            ["--topology", "h100:8", "--machine-type", "a3-megagpu-8g", "--gpudirect", "tcpxo"],
            "nvidia-h100-mega-80gb",
            "tcpxo",
            8,
            "tcpxo-daemon",
        ),
        (["--topology", "h200:8"], "nvidia-h200-141gb", "rdma", 8, ""),
    ],
)
def test_machines_with_gpus_are_joined_by_gpudirect(more, label, name, cards, helper, launch, programs, tmp_path: Path):
    made = template(sent(launch, "gke", tmp_path, "--topology", "h100:8", *more, "--slices", "2"))
    one, notes = made["spec"], made["metadata"]["annotations"]
    assert one["nodeSelector"]["cloud.google.com/gke-accelerator"] == label
    listed = json.loads(notes["networking.gke.io/interfaces"])
    assert [card["network"] for card in listed] == ["default", *fabric.usual_networks(name)] and len(
        listed
    ) == cards + 1
    # The network cards belong to the pod, which therefore cannot be on the node's network.
    assert "hostNetwork" not in one
    helpers = one.get("initContainers", [])
    assert [found["name"] for found in helpers] == ([helper] if helper else [])
    for found in helpers:
        # A container that runs beside the run, and ends with it.
        assert found["restartPolicy"] == "Always"
        paths = yaml.safe_load(notes[f"devices.gke.io/container.{helper}"])
        assert {"path": "/dev/nvidia7"} in paths and {"path": "/dev/nvidia-uvm"} in paths
    volumes = {volume["name"] for volume in one["volumes"]}
    for container in (*helpers, *one["containers"]):
        assert {mount["name"] for mount in container["volumeMounts"]} <= volumes
        assert len({mount["mountPath"] for mount in container["volumeMounts"]}) == len(container["volumeMounts"])
    found = variables(one)
    # Either the pod has NCCL's settings, or a script of the node sets them.
    assert ("NCCL_GPUDIRECTTCPX_CTRL_DEV" in found) == (name == "tcpx") == ("JAXBERT_PROFILE" not in found)


@pytest.mark.parametrize(
    ("more", "host"),
    [
        (["--slices", "2", "--host-network", "--machine-type", "a3-megagpu-8g"], True),
        # Google qualifies TCPX and TCPXO with an older NCCL than that of the lock file.
        (["--slices", "2"], True),
        (["--slices", "2", "--machine-type", "a3-megagpu-8g"], True),
        # A part of a machine cannot have its network cards.
        (["--topology", "h100:4", "--slices", "2"], True),
        (["--slices", "2", "--machine-type", "a3-highgpu-4g"], True),
        (["--slices", "1"], False),
    ],
)
def test_other_machines_use_the_network_of_their_nodes(more, host: bool, launch, programs, tmp_path: Path):
    made = template(sent(launch, "gke", tmp_path, "--topology", "h100:8", *more))
    assert made["spec"].get("hostNetwork", False) == host and "annotations" not in made["metadata"]
    assert made["spec"].get("dnsPolicy") == ("ClusterFirstWithHostNet" if host else None)
    assert variables(made["spec"])["LD_LIBRARY_PATH"] == fabric.LIBRARIES


MEGA = ("--machine-type", "a3-megagpu-8g")


def test_the_nccl_that_google_qualifies_needs_no_option(launch, programs, tmp_path: Path, monkeypatch):
    monkeypatch.setattr(fabric, "QUALIFIED", dict.fromkeys(fabric.QUALIFIED, lock_nccl()))
    for more, name in (((), "tcpx"), (MEGA, "tcpxo")):
        made = template(sent(launch, "gke", tmp_path, "--topology", "h100:8", "--slices", "2", *more))
        assert made["spec"]["initContainers"][0]["name"] == f"{name}-daemon"


def lock_nccl() -> str:
    lock = (Path(__file__).parents[2] / "requirements-lock-3.13-cuda.txt").read_text()
    (has,) = re.findall(r"^nvidia-nccl-cu13==(\S+)", lock, re.MULTILINE)
    return str(has)


def test_the_screen_says_which_nccl_google_qualifies(launch, programs):
    has = lock_nccl()
    for more, words, qualified in (
        ([], "the network of their nodes; for tcpx, add --gpudirect tcpx", "2.19.4"),
        (["--gpudirect", "tcpx"], "GPUDirect-TCPX", "2.19.4"),
        (MEGA, "the network of their nodes; for tcpxo, add --gpudirect tcpxo", "2.28.7"),
        ([*MEGA, "--gpudirect", "tcpxo"], "GPUDirect-TCPXO", "2.28.7"),
    ):
        code, said = launch("gke", "--topology", "h100:8", "--slices", "2", *more, "--dry-run")
        words += f" (Google qualifies it with NCCL {qualified}, and the lock file has NCCL {has})"
        assert code == 0 and words in re.sub(r"\s+", " ", said), said


@pytest.mark.parametrize(
    ("more", "word"),
    [
        (["--topology", "h100:8", "--gpudirect", "tcpxo"], r"joined by tcpx.*--gpudirect tcpxo.*E-LAUNCH-OPTIONS"),
        (["--topology", "h100:4", "--gpudirect", "tcpx"], r"no GPUDirect.*--gpudirect tcpx.*E-LAUNCH-OPTIONS"),
        (["--topology", "h100:8", "--gpu-networks", "a"], r"--gpu-networks.*Add --gpudirect tcpx.*E-LAUNCH-OPTIONS"),
    ],
)
def test_a_network_that_the_machines_do_not_have_is_refused(more, word: str, launch, programs):
    code, said = launch("gke", *more, "--slices", "2", "--yes")
    assert code == 2 and re.search(word, said) and programs() == [], said


def test_a_cluster_may_name_its_networks_otherwise(launch, programs, tmp_path: Path):
    base = ("--topology", "h100:8", "--slices", "2", "--gpudirect", "tcpx", "--gpu-networks")
    made = template(sent(launch, "gke", tmp_path, *base, "a", "b", "c", "d"))
    assert '"network": "d"' in made["metadata"]["annotations"]["networking.gke.io/interfaces"]
    code, said = launch("gke", *base, "a", "b", "--yes")
    assert code == 2 and re.search(r"4 networks, and 2.*--gpu-networks.*E-LAUNCH-OPTIONS", said), said


@pytest.mark.parametrize(
    ("place", "machine"),
    [
        ("h200:8", "a3-highgpu-8g"),
        ("h100:1", "g2-standard-8"),
        ("v5e:4x4", "ct5lp-hightpu-8t"),
        ("v5e:2x4", "ct6e-standard-4t"),
        ("v5e:2x2", "x"),
    ],
)
def test_a_machine_that_the_topology_does_not_have_is_refused(place: str, machine: str, launch, programs):
    code, said = launch("gke", "--topology", place, "--machine-type", machine, "--yes")
    assert code == 2 and re.search(rf"--machine-type {machine}.*E-LAUNCH-TOPOLOGY", said), said


def test_a_part_of_a_gpu_is_described_by_a_file(launch, programs, tmp_path: Path):
    """The figures of a whole GPU would plan a run that does not fit."""
    part = tmp_path / "part.json"
    part.write_text('{"name": "mig-1g-5gb", "tflops": 44, "memory_gib": 4.75, "memory_gb_per_s": 194}')
    resource = ("--gpu-resource", "nvidia.com/mig-1g.5gb")
    code, said = launch("kubernetes", "--topology", "a100-40gb:1", *resource, "--dry-run")
    assert code == 2 and re.search(r"a MIG device is a part.*--chip FILE.*E-LAUNCH-OPTIONS", said), said
    code, said = launch("kubernetes", "--topology", "mig-1g-5gb:1", "--chip", str(part), *resource, "--dry-run")
    assert code == 0 and "nvidia.com/mig-1g.5gb: 1" in said, said


def test_tpu7x_has_its_names(launch, programs, tmp_path: Path):
    """Google offers it in GKE and in Compute Engine. The Cloud TPU API does not have it."""
    files = sent(launch, "gke", tmp_path, "--topology", "tpu7x:2x2x2")
    one = pod(files)
    assert one["nodeSelector"] == {
        "cloud.google.com/gke-tpu-accelerator": "tpu7x",
        "cloud.google.com/gke-tpu-topology": "2x2x2",
    }
    assert one["containers"][0]["resources"]["limits"] == {"google.com/tpu": 4}
    assert yaml.safe_load(files["jobset.yaml"])["spec"]["replicatedJobs"][0]["template"]["spec"]["completions"] == 2
    code, said = launch("gce-tpu", "--topology", "tpu7x:2x2x2", "--dry-run")
    assert code == 0 and "2 x tpu7x-standard-4t" in said and "ubuntu-accel-2404-amd64-tpu-tpu7x" in said, said
    for target in ("queued-resource", "skypilot"):
        code, said = launch(target, "--topology", "tpu7x:2x2x2", "--dry-run")
        assert code == 2 and re.search(r"tpu7x.*E-LAUNCH-TOPOLOGY", said), said


def test_small_slices_are_joined_where_they_have_two_hosts(launch, programs, tmp_path: Path):
    more = ("--topology", "v5e:2x4", "--slices", "2")
    code, said = launch("gke", *more, "--yes")
    assert code == 2 and re.search(r"one host.*--machine-type ct5lp-hightpu-4t.*E-LAUNCH-SLICES", said), said
    files = sent(launch, "gke", tmp_path, *more, "--machine-type", "ct5lp-hightpu-4t")
    job = yaml.safe_load(files["jobset.yaml"])["spec"]["replicatedJobs"][0]
    assert (job["replicas"], job["template"]["spec"]["completions"]) == (2, 2)
    one = pod(files)
    assert one["nodeSelector"]["node.kubernetes.io/instance-type"] == "ct5lp-hightpu-4t" and one["hostNetwork"]


def test_tpu_pods_have_no_more_rights_than_they_need(launch, programs, tmp_path: Path):
    (container,) = pod(sent(launch, "gke", tmp_path))["containers"]
    assert "securityContext" not in container and "ulimit -l" in container["command"][2]
    (container,) = pod(sent(launch, "gke", tmp_path, "--privileged"))["containers"]
    assert container["securityContext"] == {"privileged": True}


# --- Capacity ---------------------------------------------------------------------------------------------------------


def test_gke_takes_flex_start_and_reservations(launch, programs, tmp_path: Path):
    files = sent(launch, "gke", tmp_path, "--flex-start", "--max-run-duration", "36h")
    notes = yaml.safe_load(files["jobset.yaml"])["metadata"]["annotations"]
    assert notes["provreq.kueue.x-k8s.io/maxRunDurationSeconds"] == "129600"
    one = pod(files)
    assert one["nodeSelector"]["cloud.google.com/gke-flex-start"] == "true"
    assert {"cloud.google.com/gke-flex-start", "cloud.google.com/gke-queued"} <= {
        found["key"] for found in one["tolerations"]
    }
    one = pod(sent(launch, "gke", tmp_path, "--reservation", "my-reservation"))
    assert one["nodeSelector"]["cloud.google.com/reservation-name"] == "my-reservation"


def test_queued_resources_take_flex_start_and_reservations(launch, programs):
    for more, words in (
        (["--flex-start"], {"--provisioning-model=flex-start", "--max-run-duration=604800s"}),
        (["--flex-start", "--max-run-duration", "2d"], {"--max-run-duration=172800s"}),
        (["--reservation", "r"], {"--reserved", "--reservation=r"}),
    ):
        code, said = launch("queued-resource", *more, "--yes")
        assert code == 0 and ("the end of that time: repeat the" in " ".join(said.split())) == ("--flex-start" in more)
        create = next(call for call in programs() if "create" in call)
        assert create[1] == "alpha" and words <= set(create), create
    assert launch("queued-resource", "--reserved", "--yes")[0] == 0
    assert next(call for call in programs() if "create" in call)[1] == "compute"


def test_machines_of_compute_engine_take_flex_start_and_reservations(launch, programs):
    for more, words in (
        (["--flex-start"], {"--provisioning-model=FLEX_START", "--max-run-duration=604800s"}),
        (["--flex-start", "--max-run-duration", "2d"], {"--max-run-duration=172800s", "--reservation-affinity=none"}),
        (["--reservation", "r"], {"--reservation-affinity=specific", "--reservation=r"}),
        (["--spot"], {"--provisioning-model=SPOT", "--instance-termination-action=DELETE"}),
    ):
        code, said = launch("gce-tpu", *more, "--dry-run")
        create = next(line.partition(" || ")[2] for line in said.splitlines() if "instance-templates create" in line)
        assert code == 0 and words <= set(create.split()), create
        assert create.startswith("gcloud beta ") == ("--flex-start" in more), create
        assert ("the end of that time: `jaxbert launch stop`" in " ".join(said.split())) == ("--flex-start" in more)
        assert ("flex-start costs less" in said) == ("--flex-start" in more)


@pytest.mark.parametrize("target", ["gke", "queued-resource", "gce-tpu"])
@pytest.mark.parametrize(
    ("more", "word"),
    [
        (["--spot", "--flex-start"], r"--spot --flex-start.*E-LAUNCH-OPTIONS"),
        (["--flex-start", "--reservation", "r"], r"--flex-start --reservation.*E-LAUNCH-OPTIONS"),
        (["--max-run-duration", "2d"], r"--max-run-duration 2d.*Add --flex-start.*E-LAUNCH-OPTIONS"),
        (["--flex-start", "--max-run-duration", "8d"], r"--max-run-duration 8d.*E-LAUNCH-NUMBER"),
        (["--flex-start", "--max-run-duration", "5m"], r"--max-run-duration 5m.*E-LAUNCH-NUMBER"),
    ],
)
def test_a_job_takes_one_kind_of_capacity(target: str, more, word: str, launch, programs):
    code, said = launch(target, *more, "--yes")
    assert code == 2 and re.search(word, said) and programs() == [], said


def test_the_cloud_tpu_api_has_no_v5p_by_flex_start(launch, programs):
    code, said = launch("queued-resource", "--topology", "v5p:2x2x2", "--flex-start", "--yes")
    assert code == 2 and re.search(r"--flex-start.*E-LAUNCH-TOPOLOGY", said), said


# --- Any cluster ------------------------------------------------------------------------------------------------------


def test_rows_and_the_workdir_may_be_on_volumes(launch, programs, tmp_path: Path):
    for target in ("kubernetes", "gke"):
        base = ["launch", target, "bert_base", *ON_VOLUME, *VOLUMES, *TARGETS[target].example.split()]
        code, said = launch("", "--yes", "--json", str(tmp_path / "out.json"), base=base)
        assert code == 0, said
        one = pod(
            {
                Path(file).name: Path(file).read_bytes()
                for file in json.loads((tmp_path / "out.json").read_text())["files"]
            }
        )
        claims = {
            v["persistentVolumeClaim"]["claimName"]: v["name"] for v in one["volumes"] if "persistentVolumeClaim" in v
        }
        (container,) = one["containers"]
        mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
        assert {claim: mounts[name] for claim, name in claims.items()} == {"runs-claim": "/data", "rows-claim": "/rows"}
        assert "--workdir=/data/base" in container["args"] and "seq512:/rows/rows-512" in container["args"]
        # This machine does not have the volume, so it keeps the record itself, and copies nothing.
        assert not any(call[0] == "gcloud" for call in programs())
        assert not Path("/data/base").exists() and (records.folder("/data/base") / "job.json").is_file()
        assert launch("", base=["launch", "stop", "--workdir", "/data/base"])[0] == 0
        assert any(call[0] == "kubectl" and "delete" in call for call in programs())


@pytest.mark.parametrize(
    ("more", "word"),
    [
        (["--workdir", "/elsewhere/base"], r"a directory of a volume: /data or /rows.*E-LAUNCH-WORKDIR"),
        (["--workdir", "/data/../base"], r"E-LAUNCH-WORKDIR"),
        (["--data", "seq128:/database", "seq512:/rows/a"], r"/database.*--volume.*E-LAUNCH-LOCAL-INPUT"),
        (["--volume", "other:/data/more"], r"would cover /data,.*--volume other:/data/more.*E-LAUNCH-PATH"),
        (["--volume", "other:/usr/local"], r"would cover /usr, which.*E-LAUNCH-PATH"),
        (["--volume", "other:data"], r"'other:data'.*E-LAUNCH-NAME"),
        (["--volume", "other:/a/../b"], r"E-LAUNCH-NAME"),
    ],
)
def test_what_is_not_on_a_volume_is_refused(more, word: str, launch, programs):
    base = ["launch", "kubernetes", "bert_base", *ON_VOLUME, *VOLUMES, *TARGETS["kubernetes"].example.split()]
    code, said = launch("", *more, "--yes", base=base)
    assert code == 2 and re.search(word, said) and programs() == [], said


def test_nodes_of_any_cluster_are_chosen_by_labels_and_taints(launch, programs, tmp_path: Path):
    more = ("--slices", "2", "--node-selector", "pool=h100", "--toleration", "spot", "team=nlp:NoSchedule")
    more += ("--resource", "rdma/ib=8", "hugepages-2Mi=5120Mi", "--host-network")
    files = sent(launch, "kubernetes", tmp_path, *more)
    document = yaml.safe_load(files["jobset.yaml"])
    # Neither Kueue nor labels of a provider are needed.
    assert (
        list(document["metadata"]["labels"]) == ["app.kubernetes.io/name"]
        and "google" not in files["jobset.yaml"].decode()
    )
    one = pod(files)
    assert one["nodeSelector"] == {"pool": "h100"} and one["hostNetwork"]
    assert one["tolerations"][1:] == [
        {"key": "spot", "operator": "Exists"},
        {"key": "team", "operator": "Equal", "value": "nlp", "effect": "NoSchedule"},
    ]
    (container,) = one["containers"]
    wanted = {"nvidia.com/gpu": 8, "rdma/ib": 8, "hugepages-2Mi": "5120Mi"}
    assert container["resources"] == {"requests": wanted, "limits": wanted}
    assert container["securityContext"] == {"capabilities": {"add": ["IPC_LOCK"]}}
    assert variables(one)["JAXBERT_PROCESSES"] == "2"
    files = sent(launch, "kubernetes", tmp_path, "--gpu-resource", "nvidia.com/gpu.shared", "--queue", "q")
    assert pod(files)["containers"][0]["resources"]["limits"] == {"nvidia.com/gpu.shared": 8}
    assert yaml.safe_load(files["jobset.yaml"])["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "q"


def test_a_bucket_needs_no_volume(launch, programs, tmp_path: Path):
    (container,) = pod(sent(launch, "kubernetes", tmp_path))["containers"]
    assert f"--workdir={BUCKET}" in container["args"]
    base = ["launch", "kubernetes", "bert_base", "--workdir", "s3://my-bucket/base", "--data"]
    base += ["seq128:s3://my-bucket/rows-128", "seq512:s3://my-bucket/rows-512", *TARGETS["kubernetes"].example.split()]
    code, said = launch("", "--secret", "AWS_SECRET_ACCESS_KEY=s3/key", "--dry-run", base=base)
    assert code == 0 and "--workdir=s3://my-bucket/base" in said and "name: AWS_SECRET_ACCESS_KEY" in said, said


@pytest.mark.parametrize("target", ["gke", "kubernetes"])
def test_stop_says_whether_the_cluster_did_it(target: str, launch, programs, answer):
    """What the real kubectl says is in tests/engines/test_kubectl.py."""
    assert launch(target, "--yes")[0] == 0
    programs()
    stop = ["launch", "stop", "--workdir", BUCKET]
    code, said = launch("", base=stop)
    assert code == 0 and "The job was told to stop, or had ended before." in said
    assert [call[2:4] for call in programs()] == [["delete", "jobset"], ["delete", "configmap"]]
    # A JobSet that could not be removed goes on. Its code is left alone.
    answer("delete jobset", 1)
    code, said = launch("", base=stop)
    assert code == 3 and "kubectl failed with exit code 1" in said and "told to stop" not in said
    assert len(programs()) == 1
