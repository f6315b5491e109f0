# shellcheck shell=bash
# Runs on each node: one process of the run, with all devices of the node.
# shellcheck disable=SC2154
set -u
export PYTHONPATH=$HOME/.jaxbert/code-$sha256 PYTHONUNBUFFERED=1
if [ "$explicit" = 1 ] && [ "$SKYPILOT_NUM_NODES" -gt 1 ]; then
  first=$(printf '%s\n' "$SKYPILOT_NODE_IPS" | head -n 1)
  export JAXBERT_COORDINATOR=$first:8476 JAXBERT_PROCESSES=$SKYPILOT_NUM_NODES JAXBERT_PROCESS_ID=$SKYPILOT_NODE_RANK
  # It is the only process of its machine, so its GPUs are the first ones.
  export JAXBERT_LOCAL_ID=0
fi
# pretrain ends with 2 where jax finds other devices.
export JAXBERT_PLATFORM=$platform JAXBERT_DEVICES=$devices
if [ "$platform" = gpu ] && [ -z "${XLA_CLIENT_MEM_FRACTION:-}${XLA_PYTHON_CLIENT_MEM_FRACTION:-}" ]; then
  export XLA_CLIENT_MEM_FRACTION=$pool
fi
cd "$HOME/.jaxbert" || exit 2
if [ -n "$config" ]; then arguments[0]=$PYTHONPATH/$config; fi
python=$HOME/.jaxbert/environment/bin/python

# SkyPilot restarts a job after exit 3 without a limit. So the workdir keeps the number of starts, also when the job moves
# to other machines, and after the last restart 3 becomes 4. SKYPILOT_TASK_ID stays the same when the job moves.
start=$("$python" -P -m jaxbert.stores.starts "$workdir" "$SKYPILOT_TASK_ID" "$SKYPILOT_NODE_RANK" "$restarts") || {
  code=$?
  # A start without its number must not be repeated without a limit.
  [ "$code" -ne 3 ] || code=4
  exit "$code"
}
echo "jaxbert: restart $((start - 1)) of $restarts"
told=
child=
trap 'told=1; [ -z "$child" ] || kill -TERM "$child" 2>/dev/null' TERM INT
"$python" -P -m jaxbert pretrain "${arguments[@]}" &
child=$!
[ -z "$told" ] || kill -TERM "$child" 2>/dev/null
while kill -0 "$child" 2>/dev/null; do wait "$child"; done
wait "$child"
code=$?
if [ "$code" -eq 3 ] && [ "$start" -gt "$restarts" ]; then
  echo "jaxbert: the run was interrupted again after $restarts restarts; the same launch command continues it"
  exit 4
fi
exit "$code"
