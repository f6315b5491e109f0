# shellcheck shell=sh
# What a pod runs. Values come as environment variables and arguments, never as text of this script.
set -eu
code=/tmp/jaxbert
mkdir -p "$code"
echo "$JAXBERT_CODE_SHA256  /jaxbert/code.tar.gz" | sha256sum -c - >/dev/null || {
  echo "jaxbert: error: the code is not what was submitted (sha256)" >&2
  exit 4
}
tar -xzf /jaxbert/code.tar.gz -C "$code"
cmp -s /opt/jaxbert/requirements.lock "$code/requirements.lock" || {
  echo "jaxbert: error: the image was not made from the lock file that was submitted. Build it again." >&2
  exit 2
}
if [ -n "${JAXBERT_COORDINATOR:-}" ]; then
  JAXBERT_PROCESS_ID=$((JAXBERT_JOB_INDEX * JAXBERT_PODS + JOB_COMPLETION_INDEX))
  export JAXBERT_PROCESS_ID
fi
export PYTHONPATH="$code"
cd /tmp
# exec: the kubelet's SIGTERM reaches Python, which saves and ends with 3.
exec python3 -P -m jaxbert pretrain "$@"
