"""Checkpoints at s3://: what TensorStore needs to reach a bucket of S3, and how Orbax comes to use it. Imports no jax.

TensorStore reads and writes S3, and the paths of etils do. Orbax 0.12 stands between them and knows gs:// only: it asks
four of its functions whether a path is Google's and how TensorStore reaches it. `teach_orbax` lets these functions
answer for s3:// too. Nothing changes for other paths.

Both clients, boto3 and TensorStore, look for credentials in the same places (environment, profile, the role of the
machine or of the pod). The address of a store that is not Amazon's is `AWS_ENDPOINT_URL`, or `endpoint_url` of the
profile, as for every tool of AWS.

Facts: google.github.io/tensorstore/kvstore/s3, and the functions of orbax-checkpoint that `_FUNCTIONS` names.
"""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from jaxbert.errors import InputError

if TYPE_CHECKING:
    from jaxbert.stores.s3_files import S3Files

_PREFIX = "s3://"
_AMAZON = (".amazonaws.com", ".amazonaws.com.cn")
# Orbax's functions that know gs://, by module.
_FUNCTIONS = {
    "orbax.checkpoint._src.serialization.tensorstore_utils": ("_use_gcs_driver", "_normalize_path"),
    "orbax.checkpoint._src.path.gcs_utils": ("is_gcs_path", "get_kvstore_for_gcs"),
}
_taught = False


def files(**options: Any) -> S3Files:
    """Returns the filesystem of s3://, and lets fsspec give the same one to others (etils, and with it Orbax).

    Raises:
      ImportError: boto3 is not installed.
    """
    import fsspec

    from jaxbert.stores.s3_files import S3Files

    if fsspec.registry.get("s3") is not S3Files:
        fsspec.register_implementation("s3", S3Files, clobber=True)
    found: S3Files = fsspec.filesystem("s3", **options)
    return found


def kvstore(url: str) -> dict[str, Any]:
    """Returns TensorStore's description of an s3:// URL, with the address and the region that boto3 chooses.

    Args:
      url: s3://BUCKET/PATH. A slash at its end stays.

    Raises:
      ImportError: boto3 is not installed.
    """
    parts = urlsplit(url)
    found: dict[str, Any] = {"driver": "s3", "bucket": parts.netloc, "path": parts.path.lstrip("/")}
    if os.environ.get("AWS_ACCESS_KEY_ID"):
        # Without this word TensorStore first looks for a profile, and prints an error if there is none.
        found["aws_credentials"] = {"type": "environment"}
    endpoint, region = files().place
    if not (urlsplit(endpoint).hostname or "").endswith(_AMAZON):
        # TensorStore asks Amazon for the region of a bucket. Another store has one region, or none.
        found |= {"endpoint": endpoint.rstrip("/"), "aws_region": region}
    return found


def teach_orbax() -> None:
    """Lets Orbax write to s3:// and read from there. It changes Orbax once in a process.

    Raises:
      InputError: this version of Orbax has other functions.
    """
    global _taught
    files()
    if _taught:
        return
    modules: list[Any] = [importlib.import_module(name) for name in _FUNCTIONS]
    store, paths = modules
    missing = [
        name
        for module, names in ((store, _FUNCTIONS[store.__name__]), (paths, _FUNCTIONS[paths.__name__]))
        for name in names
        if not callable(getattr(module, name, None))
    ]
    if missing:
        raise InputError(
            f"this version of orbax-checkpoint cannot be taught to write to s3:// (it has no {', '.join(missing)})",
            where="orbax-checkpoint",
            fix="Install the version of requirements.txt: pip install 'orbax-checkpoint>=0.12,<0.13'. Or choose a "
            "--workdir on a disk or at gs://.",
            code="E-STORE-ORBAX",
        )
    uses, normal, is_remote, reached = (
        store._use_gcs_driver,
        store._normalize_path,
        paths.is_gcs_path,
        paths.get_kvstore_for_gcs,
    )
    store._use_gcs_driver = lambda path: str(path).startswith(_PREFIX) or uses(path)
    store._normalize_path = lambda path: _normal(str(path)) if str(path).startswith(_PREFIX) else normal(path)
    paths.is_gcs_path = lambda path: path.as_posix().startswith(_PREFIX) or is_remote(path)
    paths.get_kvstore_for_gcs = lambda path: kvstore(str(path)) if str(path).startswith(_PREFIX) else reached(path)
    _taught = True


def _normal(url: str) -> str:
    """Returns the URL without a slash at its end and without double slashes in its path."""
    return _PREFIX + "/".join(part for part in url.removeprefix(_PREFIX).split("/") if part)
