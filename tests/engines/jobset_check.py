"""Check a JobSet manifest as an API server with the JobSet controller would: schema, unknown fields, admission rules.

`problems(document)` says what is wrong, one line each; none means accepted. The schema (jobset_schema.json) is the
v1alpha2 openAPIV3Schema of JobSet v0.12.0 (commit f22e565ac3cc, Apache-2.0) without its descriptions. Beyond it: strict
field validation (an unknown field is an error), the CEL rule of the CRD, the controller's admission webhook
(pkg/webhooks/jobset_webhook.go), and the rules of batch/v1 Job the created jobs would meet.
"""

import functools
import json
import pathlib
import re
from collections.abc import Iterator
from typing import Any

import jsonschema

SCHEMA = pathlib.Path(__file__).with_name("jobset_schema.json")
INT_RANGES = {"int32": (-(2**31), 2**31 - 1), "int64": (-(2**63), 2**63 - 1)}
DNS_LABEL = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?\Z")  # RFC 1035: job, pod and service names.
DNS_SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*\Z")
LABEL_VALUE = re.compile(r"(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?\Z")
LABEL_NAME = re.compile(r"([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]\Z")
RULE_NAME = re.compile(r"[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?\Z")
FAILURE_REASONS = (
    "BackoffLimitExceeded",
    "DeadlineExceeded",
    "FailedIndexes",
    "MaxFailedIndexesExceeded",
    "PodFailurePolicy",
)
STRINGS = {"type": "object", "additionalProperties": {"type": "string"}}
OBJECT_META: dict[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "annotations": STRINGS,
        "finalizers": {"type": "array", "items": {"type": "string"}},
        "generateName": {"type": "string"},
        "labels": STRINGS,
        "name": {"type": "string"},
        "namespace": {"type": "string"},
        "ownerReferences": {"type": "array", "items": {"type": "object"}},
    },
}


def strict(node: dict[str, Any]) -> dict[str, Any]:
    """Returns a structural OpenAPI v3 schema as a JSON schema that refuses unknown fields."""
    schema = dict(node)
    if "properties" in schema:
        schema["properties"] = {name: strict(child) for name, child in schema["properties"].items()}
        if not schema.get("x-kubernetes-preserve-unknown-fields"):
            schema.setdefault("additionalProperties", False)
    if isinstance(schema.get("additionalProperties"), dict):
        schema["additionalProperties"] = strict(schema["additionalProperties"])
    if "items" in schema:
        schema["items"] = strict(schema["items"])
        if schema.get("x-kubernetes-list-type") == "set":
            schema["uniqueItems"] = True
    if schema.get("x-kubernetes-int-or-string"):
        schema.pop("type", None)
        schema.setdefault("anyOf", [{"type": "integer"}, {"type": "string"}])
        if "pattern" in schema:  # The pattern of a quantity is for strings, not for numbers.
            schema["anyOf"] = [{"type": "integer"}, {"type": "string", "pattern": schema.pop("pattern")}]
    if schema.get("format") in INT_RANGES:
        low, high = INT_RANGES[schema["format"]]
        schema["minimum"] = max(low, schema.get("minimum", low))
        schema["maximum"] = min(high, schema.get("maximum", high))
    if schema.pop("nullable", False) and "type" in schema:
        schema["type"] = [schema["type"], "null"]
    schema.pop("format", None)
    return schema


@functools.cache
def validator() -> jsonschema.protocols.Validator:
    """Returns the strict validator of a whole JobSet manifest."""
    schema = strict(json.loads(SCHEMA.read_text()))
    schema["properties"]["metadata"] = OBJECT_META
    schema["properties"]["apiVersion"] = {"const": "jobset.x-k8s.io/v1alpha2"}
    schema["properties"]["kind"] = {"const": "JobSet"}
    schema["required"] = ["apiVersion", "kind", "metadata", "spec"]
    return jsonschema.Draft202012Validator(schema)


def duplicates(node: Any, schema: Any, path: str) -> Iterator[str]:
    """Yields list entries with equal map keys (x-kubernetes-list-map-keys), as two variables of one name."""
    if isinstance(node, dict) and isinstance(schema, dict):
        for name, child in schema.get("properties", {}).items():
            if name in node:
                yield from duplicates(node[name], child, f"{path}.{name}")
    elif isinstance(node, list) and isinstance(schema, dict):
        keys = schema.get("x-kubernetes-list-map-keys")
        seen: set[tuple[Any, ...]] = set()
        for index, item in enumerate(node):
            if keys and isinstance(item, dict):
                # A key may have a default, for example a port's protocol.
                fields = schema["items"].get("properties", {})
                key = tuple(item.get(name, fields.get(name, {}).get("default")) for name in keys)
                if key in seen:
                    yield f"{path}[{index}]: duplicate of the entry {dict(zip(keys, key, strict=True))}"
                seen.add(key)
            yield from duplicates(item, schema.get("items"), f"{path}[{index}]")


def label_problems(metadata: dict[str, Any], path: str) -> Iterator[str]:
    """Yields labels and annotations with keys or values that Kubernetes refuses."""
    for kind in ("labels", "annotations"):
        for key, value in (metadata.get(kind) or {}).items():
            prefix, _, name = key.rpartition("/")
            if len(name) > 63 or not LABEL_NAME.match(name) or (prefix and not DNS_SUBDOMAIN.match(prefix)):
                yield f"{path}.{kind}: {key!r} is not a qualified name"
            if kind == "labels" and (len(value) > 63 or not LABEL_VALUE.match(value)):
                yield f"{path}.labels: {value!r} (of {key}) is not a label value"


def name_problems(name: str, what: str, path: str) -> Iterator[str]:
    """Yields a name that is not a DNS label (RFC 1035), or is too long for one."""
    if not DNS_LABEL.match(name):
        yield f"{path}: {what} {name!r} is not a DNS label"
    if len(name) > 63:
        yield f"{path}: {what} {name!r} has {len(name)} characters, more than 63"


def job_problems(job: dict[str, Any], path: str) -> Iterator[str]:
    """Yields the parts of a replicated job's template that batch/v1 would refuse, when a job is created from it."""
    pod = job.get("template", {}).get("spec", {})
    restart = pod.get("restartPolicy", "OnFailure")  # The webhook's default.
    if restart not in ("Never", "OnFailure"):
        yield f"{path}.template.spec.restartPolicy: {restart!r} is neither Never nor OnFailure"
    containers = pod.get("containers", [])
    if not containers:
        yield f"{path}.template.spec.containers: none"
    mounts = {volume["name"] for volume in pod.get("volumes", [])}
    for index, container in enumerate(containers):
        if not container.get("image"):
            yield f"{path}.template.spec.containers[{index}]: no image"
        for mount in container.get("volumeMounts", []):
            if mount["name"] not in mounts:
                yield f"{path}.template.spec.containers[{index}]: no volume {mount['name']!r}"
        resources = container.get("resources", {})
        for name, limit in resources.get("limits", {}).items():
            request = resources.get("requests", {}).get(name, limit)
            if "/" in name and str(request) != str(limit):
                yield f"{path}.template.spec.containers[{index}]: {name}'s request is not its limit"
    policy = job.get("podFailurePolicy")
    if policy is None:
        return
    if restart != "Never":
        yield f"{path}.podFailurePolicy: needs restartPolicy Never"
    names = {container["name"] for container in containers + pod.get("initContainers", [])}
    for index, rule in enumerate(policy["rules"]):
        here = f"{path}.podFailurePolicy.rules[{index}]"
        if rule["action"] not in ("Count", "FailIndex", "FailJob", "Ignore"):
            yield f"{here}.action: {rule['action']!r}"
        if rule["action"] == "FailIndex" and "backoffLimitPerIndex" not in job:
            yield f"{here}.action: FailIndex needs backoffLimitPerIndex"
        if ("onExitCodes" in rule) == ("onPodConditions" in rule):
            yield f"{here}: needs one of onExitCodes and onPodConditions"
        codes = rule.get("onExitCodes")
        if codes is not None:
            if codes["operator"] not in ("In", "NotIn"):
                yield f"{here}.onExitCodes.operator: {codes['operator']!r}"
            if not 1 <= len(codes["values"]) <= 255 or codes["values"] != sorted(set(codes["values"])):
                yield f"{here}.onExitCodes.values: not ordered, unique and 1 to 255"
            if codes["operator"] == "In" and 0 in codes["values"]:
                yield f"{here}.onExitCodes.values: 0 with In"
            if "containerName" in codes and codes["containerName"] not in names:
                yield f"{here}.onExitCodes.containerName: no container {codes['containerName']!r}"


def policy_problems(spec: dict[str, Any], names: set[str]) -> Iterator[str]:
    """Yields the parts of the failure and success policies that the controller's webhook would refuse."""
    seen: set[str] = set()
    policy = spec.get("failurePolicy") or {}
    if policy.get("restartStrategy") == "InPlaceRestart":
        yield "$.spec.failurePolicy.restartStrategy: InPlaceRestart is behind a feature gate"
    for index, rule in enumerate(policy.get("rules") or []):
        path = f"$.spec.failurePolicy.rules[{index}]"
        if not 1 <= len(rule["name"]) <= 128 or not RULE_NAME.match(rule["name"]) or rule["name"] in seen:
            yield f"{path}.name: {rule['name']!r} is no new rule name (letters, digits, '_,:')"
        seen.add(rule["name"])
        for reason in rule.get("onJobFailureReasons", []):
            if reason not in FAILURE_REASONS:
                yield f"{path}.onJobFailureReasons: {reason!r} is none of {', '.join(FAILURE_REASONS)}"
        if rule["action"].startswith("RestartJob") and not rule["action"].startswith("RestartJobSet"):
            yield f"{path}.action: {rule['action']} is behind a feature gate"
        for name in set(rule.get("targetReplicatedJobs", [])) - names:
            yield f"{path}.targetReplicatedJobs: no replicated job {name!r}"
    for name in set((spec.get("successPolicy") or {}).get("targetReplicatedJobs") or []) - names:
        yield f"$.spec.successPolicy.targetReplicatedJobs: no replicated job {name!r}"


def admission_problems(document: dict[str, Any]) -> Iterator[str]:
    """Yields the parts that the controller's webhook would refuse, or the API server for the controller's objects."""
    spec = document["spec"]
    jobset = document["metadata"].get("name", "")
    yield from name_problems(jobset, "the name", "$.metadata.name")
    yield from label_problems(document["metadata"], "$.metadata")
    subdomain = (spec.get("network") or {}).get("subdomain")
    if subdomain:
        yield from name_problems(subdomain, "the subdomain", "$.spec.network.subdomain")
    jobs = spec.get("replicatedJobs") or []
    if not jobs:
        yield "$.spec.replicatedJobs: none"
    elif "dependsOn" in jobs[0]:
        yield "$.spec.replicatedJobs[0].dependsOn: the first depends on nothing"
    in_order = (spec.get("startupPolicy") or {}).get("startupPolicyOrder") == "InOrder"
    if in_order and any("dependsOn" in job for job in jobs):
        yield "$.spec: startupPolicy InOrder and dependsOn exclude each other"
    yield from policy_problems(spec, {job["name"] for job in jobs})
    for index, job in enumerate(jobs):
        path = f"$.spec.replicatedJobs[{index}]"
        replicas, template = job.get("replicas", 1), job["template"].get("spec", {})
        longest = f"{jobset}-{job['name']}-{max(replicas - 1, 0)}"
        yield from name_problems(longest, "the job", f"{path}.name")
        if template.get("completionMode", "Indexed") == "Indexed" and "completions" in template:
            pod = f"{longest}-{template['completions'] - 1}-abcde"
            yield from name_problems(pod, "the pod", f"{path}.name")
        yield from label_problems(job["template"].get("metadata") or {}, f"{path}.template.metadata")
        yield from label_problems(
            template.get("template", {}).get("metadata") or {}, f"{path}.template.spec.template.metadata"
        )
        yield from job_problems(template, f"{path}.template.spec")


def problems(document: dict[str, Any]) -> list[str]:
    """Returns a line for each part of a manifest that an API server with the JobSet controller would refuse."""
    check = validator()
    found = [f"{error.json_path}: {error.message[:400]}" for error in check.iter_errors(document)]
    if found:
        return found
    return [*duplicates(document, check.schema, "$"), *admission_problems(document)]


if __name__ == "__main__":
    import sys

    sys.exit("\n".join(problems(json.load(sys.stdin))) or None)
