"""The kinds of buckets, by the scheme of their URLs: what each needs, and what a message advises. Imports no jax.

A workdir needs a store that lists what was just written, and that lets exactly one of several processes make a file.
`WRITABLE` has the kinds of which that is known. Rows and models are only read, so any filesystem of fsspec can hold
them.

Sources: cloud.google.com/storage/docs/consistency and /request-preconditions (ifGenerationMatch);
docs.aws.amazon.com/AmazonS3/latest/userguide, "Amazon S3 data consistency model" and "How to prevent object overwrites
with conditional writes" (If-None-Match).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Scheme:
    """Describes what a kind of bucket needs.

    Attributes:
      extra: the extra of jaxbert with the package that reads such URLs.
      package: that package.
      log_in: how to log in.
      copy: the command that copies a directory there, without its two paths.
    """

    extra: str
    package: str
    log_in: str
    copy: str


SCHEMES: Mapping[str, Scheme] = {
    "gs": Scheme("gcs", "gcsfs", "gcloud auth application-default login", "gcloud storage cp -r"),
    "s3": Scheme(
        "s3", "boto3", "aws configure, or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY", "aws s3 cp --recursive"
    ),
}
# The kinds of buckets that can hold a workdir.
WRITABLE = tuple(SCHEMES)


def scheme_of(url: str) -> str:
    """Returns "s3" for "s3://bucket/path"; gcs:// is another name of gs://."""
    scheme = url.partition("://")[0].lower()
    return "gs" if scheme == "gcs" else scheme


def known(url: str) -> Scheme | None:
    """Returns what the bucket of a URL needs; None for a kind of which nothing is known here."""
    return SCHEMES.get(scheme_of(url))


def log_in(url: str) -> str:
    """Returns how to log in where the URL leads, for the advice of a message."""
    found = known(url)
    return f"Log in: {found.log_in}." if found else "Log in as the filesystem of such URLs asks for it."


def examples(schemes: tuple[str, ...] = WRITABLE) -> str:
    """Returns "gs://BUCKET/PATH or s3://BUCKET/PATH", for the advice of a message."""
    return " or ".join(f"{scheme}://BUCKET/PATH" for scheme in schemes)
