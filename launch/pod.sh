# shellcheck shell=sh
# Runs in a pod. All values come as environment variables and arguments, and none is a part of this text.
set -eu
code=/tmp/jaxbert
mkdir -p "$code"
echo "$JAXBERT_CODE_SHA256  /jaxbert/code.tar.gz" | sha256sum -c - >/dev/null || {
  echo "jaxbert: error: the code is not what was submitted (sha256)" >&2
  exit 4
}
tar -xzf /jaxbert/code.tar.gz -C "$code"
same=
# A job for NVIDIA GPUs has two lock files, for new and for older drivers. The image was made from one of them.
for lock in "$code"/requirements*.lock; do
  if cmp -s /opt/jaxbert/requirements.lock "$lock"; then same=1; fi
done
[ -n "$same" ] || {
  echo "jaxbert: error: the image was made from another lock file than the job's. Build it again." >&2
  exit 2
}
if [ -n "${JAXBERT_COORDINATOR:-}" ]; then
  JAXBERT_PROCESS_ID=$((JAXBERT_JOB_INDEX * JAXBERT_PODS + JOB_COMPLETION_INDEX))
  export JAXBERT_PROCESS_ID
fi
export PYTHONPATH="$code"
# Drivers of chips and of network cards lock memory. Where the pod may not raise the limit, it has what the node gives.
# shellcheck disable=SC3045
ulimit -l unlimited 2>/dev/null || true
cd /tmp
# With exec, the kubelet's SIGTERM reaches Python, which saves a checkpoint and ends with 3.
if [ -n "${JAXBERT_PROFILE:-}" ]; then
  [ -r "$JAXBERT_PROFILE" ] || {
    echo "jaxbert: error: $JAXBERT_PROFILE does not exist. Install the node's NCCL plugin, or give --host-network." >&2
    exit 2
  }
  # The profile of the node's NCCL plugin is written for bash, and reads variables that may be missing.
  # shellcheck disable=SC2016
  exec bash -c '. "$JAXBERT_PROFILE"; exec python3 -P -m jaxbert pretrain "$@"' jaxbert "$@"
fi
exec python3 -P -m jaxbert pretrain "$@"
