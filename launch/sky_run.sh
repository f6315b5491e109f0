# shellcheck shell=bash
# Runs on each node: one process of the run, with all devices of the node.
# shellcheck disable=SC2154
set -u
export PYTHONPATH=$HOME/.jaxbert/code-$sha256 PYTHONUNBUFFERED=1
if [ "$explicit" = 1 ] && [ "$SKYPILOT_NUM_NODES" -gt 1 ]; then
  first=$(printf '%s\n' "$SKYPILOT_NODE_IPS" | head -n 1)
  export JAXBERT_COORDINATOR=$first:8476 JAXBERT_PROCESSES=$SKYPILOT_NUM_NODES JAXBERT_PROCESS_ID=$SKYPILOT_NODE_RANK
fi
cd "$HOME/.jaxbert" || exit 2
if [ -n "$config" ]; then arguments[0]=$PYTHONPATH/$config; fi
exec "$HOME/.jaxbert/environment/bin/python" -P -m jaxbert pretrain "${arguments[@]}"
