"""Parses manifests with kubectl, without a cluster.

`kubectl label --local -o json` reads a file of any kind, custom resources included, through kubectl's own decoder and
prints the objects, with no request. It checks that each has an apiVersion and a kind, but not their schema.
"""

import json
import os
import pathlib
import subprocess
import sys
import tempfile
from typing import Any

LABEL = "kubectl-check"


def parse(manifest_text: str, timeout: float = 60) -> list[dict[str, Any]]:
    """Returns the documents of a manifest as kubectl reads them; raises ValueError with kubectl's complaint."""
    with tempfile.TemporaryDirectory(prefix="kubectl-check-") as home:
        config = pathlib.Path(home, "config")
        config.write_text("apiVersion: v1\nkind: Config\n")
        env = {"PATH": os.environ["PATH"], "HOME": home, "KUBECONFIG": str(config)}
        command = ["kubectl", "label", "--local", "--filename=-", "--output=json", f"{LABEL}=1"]
        run = subprocess.run(command, input=manifest_text, env=env, capture_output=True, text=True, timeout=timeout)
    if run.returncode:
        raise ValueError(run.stderr.strip() or f"kubectl: exit code {run.returncode}")
    decoder, text = json.JSONDecoder(), run.stdout.strip()
    documents: list[dict[str, Any]] = []
    while text:
        document, end = decoder.raw_decode(text)
        documents.extend(document["items"] if document.get("kind") == "List" else [document])
        text = text[end:].lstrip()
    if not documents:
        raise ValueError("kubectl: no document")
    for document in documents:  # Remove the label that kubectl had to set.
        labels = document["metadata"]["labels"]
        del labels[LABEL]
        if not labels:
            del document["metadata"]["labels"]
    return documents


if __name__ == "__main__":
    json.dump(parse(sys.stdin.read()), sys.stdout, indent=1)
