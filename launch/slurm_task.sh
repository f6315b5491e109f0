# shellcheck shell=bash
# One task: `jaxbert pretrain`, which finds its peers in Slurm's environment. Argument: the directory for exit codes.
# shellcheck disable=SC2154
set -u

"$python" -P -m jaxbert pretrain "${arguments[@]}" --distributed >>"$workdir/logs/process-$SLURM_PROCID.log" 2>&1 &
child=$!
# SIGTERM reaches Python, which saves and ends with 3; this shell stays to say so.
trap 'kill -TERM "$child" 2>/dev/null' TERM
while kill -0 "$child" 2>/dev/null; do wait "$child"; done
wait "$child"
code=$?
echo "$code" >"$1/$SLURM_PROCID"
exit "$code"
