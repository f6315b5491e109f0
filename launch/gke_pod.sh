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
cd /tmp
# With exec, the kubelet's SIGTERM reaches Python, which saves a checkpoint and ends with 3.
exec python3 -P -m jaxbert pretrain "$@"
