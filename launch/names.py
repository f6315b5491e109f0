"""The names that users may give. Each is checked before a command, a manifest or a script holds it.

Quoting keeps a string in one piece. These checks refuse strings that an engine would refuse or misread: a value that
begins with a hyphen and looks like an option, one of Slurm's filename patterns, a second line.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path

from jaxbert.errors import InputError
from jaxbert.stores.schemes import WRITABLE
from jaxbert.stores.storage import is_remote

# kind: (pattern of the whole name, an example). Sources: Kubernetes' RFC 1123 labels; Google Cloud's naming pages of
# projects, zones, networks, service accounts, labels and buckets; Slurm's names are letters, digits and a few other
# characters.
_DNS = r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?"
_KEY = r"([a-z0-9]([-a-z0-9.]{0,200}[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?"
_VALUE = r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?"
KINDS: Mapping[str, tuple[str, str]] = {
    # Engines append to it, and the result must be shorter than 63 characters.
    "job": (r"[a-z]([-a-z0-9]{0,37}[a-z0-9])?", "bert-base-1"),
    "dns": (_DNS, "my-queue"),
    "project": (r"([a-z0-9.-]{1,60}:)?[a-z][-a-z0-9]{4,28}[a-z0-9]", "my-project"),
    "zone": (r"[a-z]{2,20}-[a-z]+[0-9]{1,2}-[a-z]", "us-east5-a"),
    "network": (r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?", "default"),
    "account": (r"[a-z0-9][-a-z0-9]{0,62}@[a-z0-9][-a-z0-9.]{0,200}", "trainer@my-project.iam.gserviceaccount.com"),
    "image": (
        r"[a-z0-9][-a-z0-9.]*(:[0-9]{1,5})?(/[a-z0-9][-a-z0-9._]*)*(:[A-Za-z0-9_][-A-Za-z0-9_.]{0,127})?(@sha256:[0-9a-f]{64})?",
        "us-docker.pkg.dev/my-project/jaxbert/jaxbert:1",
    ),
    "context": (r"[A-Za-z0-9][-A-Za-z0-9_.:@/]{0,252}", "gke_my-project_us-east5_cluster"),
    "word": (r"[A-Za-z0-9_][-A-Za-z0-9_.+]{0,63}", "gpu"),
    "list": (r"[A-Za-z0-9_][-A-Za-z0-9_.+,:=*&|\[\]]{0,127}", "gpu:h100:8"),
    "gres": (r"[A-Za-z0-9_][-A-Za-z0-9_.+,:=/]{0,127}", "gpu:h100:8"),
    "time": (r"([0-9]{1,3}-)?[0-9]{1,4}(:[0-9]{2}){0,2}", "1-00:00:00"),
    "gpus": (r"([A-Za-z0-9_][-A-Za-z0-9_.+]{0,63}:)?[1-9][0-9]{0,3}", "h100:8"),
    "seeds": (r"[0-9]{1,10}(-[0-9]{1,10})?(,[0-9]{1,10}(-[0-9]{1,10})?)*(%[1-9][0-9]{0,3})?", "0-4"),
    # Docker's names, enroot's REGISTRY#IMAGE, URLs of Apptainer, and paths.
    "container": (r"[A-Za-z0-9_./][-A-Za-z0-9_./:@#+=]{0,511}", "/images/jaxbert.sqsh"),
    "mount": (r"/[-A-Za-z0-9_./+=@]*(:/[-A-Za-z0-9_./+=@]*(:(ro|rw))?)?", "/shared:/shared"),
    "program": (r"[A-Za-z0-9_./][-A-Za-z0-9_./+]{0,254}", "python3"),
    "duration": (r"[0-9]{1,6}[smhd]", "6h"),
    "variable": (r"[A-Za-z_][A-Za-z0-9_]{0,127}", "HF_TOKEN"),
    "secret": (r"[A-Za-z0-9][-A-Za-z0-9_./]{0,252}", "hub/token"),
    "label": (r"[a-z][-a-z0-9_]{0,62}=[-a-z0-9_]{0,63}", "team=language"),
    # Kubernetes: environment variables, labels of nodes, taints, quantities of resources, claims of volumes.
    "setting": (r"[A-Za-z_][A-Za-z0-9_]{0,127}=[^\x00-\x1f\x7f]{0,1000}", "NCCL_DEBUG=INFO"),
    "node_label": (f"{_KEY}={_VALUE}", "gpu-type=h100"),
    "toleration": (f"{_KEY}(={_VALUE})?(:(NoSchedule|PreferNoSchedule|NoExecute))?", "dedicated=training:NoSchedule"),
    "quantity": (f"{_KEY}=[1-9][0-9]{{0,9}}(Ki|Mi|Gi|Ti)?", "rdma/ib=8"),
    "resource": (_KEY, "nvidia.com/gpu"),
    "volume": (f"{_DNS}:(/[A-Za-z0-9_][-A-Za-z0-9_.]{{0,99}}){{1,9}}", "rows-claim:/data"),
    "cloud": (r"[a-z][a-z0-9-]{1,30}(/[a-z0-9-]{1,60}){0,2}", "gcp/us-east5"),
    "url": (
        r"(gs|s3)://[a-z0-9][-a-z0-9_.]{1,220}[a-z0-9](/[^\x00-\x1f\x7f#?*\[\]/]+)*",
        "gs://my-bucket/runs/base or s3://my-bucket/runs/base",
    ),
}
# What a name of each kind is the name of, for messages.
WORDS: Mapping[str, str] = {
    "job": "the name of a job: take small letters, digits and hyphens, at most 39 characters, and a letter first",
    "dns": "a name in Kubernetes: take small letters, digits and hyphens",
    "project": "a project of Google Cloud",
    "zone": "a zone of Google Cloud",
    "network": "a network of Google Cloud",
    "account": "a service account of Google Cloud",
    "image": "the name of an image: take small letters, digits and . _ - / and at most one :TAG",
    "context": "a context of kubectl",
    "word": "a name that the engine takes: use letters, digits and _ - . +",
    "list": "a list that the engine takes: use letters, digits and _ - . + , : = * & |",
    "gres": "a list of GPUs and other resources of a node",
    "time": "a time limit",
    "gpus": "a number of GPUs, or a type and a number",
    "seeds": "a list of seeds",
    "container": "the image of a container: take letters, digits and _ . / : @ # + = -",
    "mount": "a directory that a container sees",
    "program": "a program",
    "duration": "a duration",
    "variable": "the name of an environment variable",
    "secret": "the name of a secret",
    "label": "a label",
    "setting": "an environment variable: take NAME=VALUE without characters that do not print",
    "node_label": "a label of nodes: take KEY=VALUE",
    "toleration": "a taint: take KEY[=VALUE][:EFFECT] with the effect NoSchedule, PreferNoSchedule or NoExecute",
    "quantity": "a quantity of a resource: take NAME=NUMBER",
    "resource": "a resource of a cluster's nodes",
    "volume": "a volume: take CLAIM:/PATH, the name of a PersistentVolumeClaim and a directory",
    "cloud": "the name of a cloud",
    "url": "the URL of a directory in a bucket",
}


def checked(value: str, kind: str, where: str) -> str:
    """Returns `value` if it is a name of `kind`.

    Raises:
      InputError: it is not.
    """
    pattern, example = KINDS[kind]
    if not re.fullmatch(pattern, value):
        raise InputError(
            f"{value!r} cannot be {WORDS.get(kind, 'used here')}",
            where=where,
            fix=f"Write for example {example}.",
            code="E-LAUNCH-NAME",
        )
    return value


def plain(value: str, where: str) -> str:
    """Returns `value` if a command line can hold it: it has no NUL and no lone surrogate.

    Raises:
      InputError: a command line cannot hold it.
    """
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        raise InputError(
            f"{value!r} is not UTF-8", where=where, fix="Write it in UTF-8.", code="E-LAUNCH-TEXT"
        ) from None
    if "\0" in value:
        raise InputError(f"{value!r} contains a NUL character", where=where, fix="Remove it.", code="E-LAUNCH-TEXT")
    return value


def workdir(value: str) -> str:
    """Returns --workdir as a URL without its last slash, or as an absolute path.

    Raises:
      InputError: no directory and no bucket can have this name.
    """
    plain(value, "--workdir")
    if is_remote(value):
        return _url(value.rstrip("/") if value.partition("://")[2].strip("/") else value)
    if any(not sign.isprintable() for sign in value):
        raise InputError(
            f"{value!r} contains characters that do not print",
            where="--workdir",
            fix="Choose another DIR.",
            code="E-LAUNCH-TEXT",
        )
    return str(Path(value).absolute())


def _url(value: str) -> str:
    """Returns --workdir if it is a URL of a kind of bucket that can hold a workdir.

    Raises:
      InputError: it is not. The message says which of its parts is wrong.
    """
    scheme, _, path = value.partition("://")
    what, fix = "", f"Write for example {KINDS['url'][1]}."
    if scheme not in WRITABLE:
        what = f"{scheme}:// is no kind of bucket that can hold a workdir"
        if (right := _SAME.get(scheme.lower())) is not None:
            fix = f"Write {right}://{path}."
        elif scheme.lower() in _LIKE_S3:
            fix = f"Write s3://{path}, and set AWS_ENDPOINT_URL to the address of the store."
    elif not re.fullmatch(r"[a-z0-9][-a-z0-9_.]{1,220}[a-z0-9]", bucket := path.partition("/")[0]):
        what = f"no bucket can have the name {bucket!r}: it takes 3 to 222 small letters, digits and - _ ."
    elif {".", ".."} & set(path.split("/")):
        what = "the path of a bucket has no . and no .. as names of directories"
    elif not re.fullmatch(KINDS["url"][0], value):
        what = "the path of a workdir has no empty part, and none of # ? * [ ] or signs that do not print"
    if what:
        raise InputError(what, where=f"--workdir {value}", fix=fix, code="E-LAUNCH-NAME")
    return value


# Other spellings of the kinds of buckets, and stores that speak the protocol of S3.
_SAME = {"gcs": "gs", "s3a": "s3", "s3n": "s3", "gs": "gs", "s3": "s3"}
_LIKE_S3 = ("r2", "minio", "b2", "oss", "cos", "obs", "wasabi", "spaces", "nebius")


def job_name(config: str, workdir: str) -> str:
    """Returns the name of a job without --name. It depends on the workdir, so that a workdir has one job only."""
    digest = hashlib.sha256(workdir.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    word = re.sub(r"[^a-z0-9]+", "-", config.lower()).strip("-")[:28].strip("-")
    return f"{word if word[:1].isalpha() else f'run-{word}'.strip('-')}-{digest}"
