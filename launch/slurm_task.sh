# shellcheck shell=bash
# Runs one task: `jaxbert pretrain`, which finds the other tasks by Slurm's variables. Argument: a directory for exit
# codes.
# shellcheck disable=SC2154
set -u

"$python" -P -m jaxbert pretrain "${arguments[@]}" --distributed >>"$workdir/logs/process-$SLURM_PROCID.log" 2>&1 &
child=$!
# This shell passes SIGTERM on to Python, which saves a checkpoint and ends with 3, and then reports that code.
trap 'kill -TERM "$child" 2>/dev/null' TERM
while kill -0 "$child" 2>/dev/null; do wait "$child"; done
wait "$child"
code=$?
echo "$code" >"$1/$SLURM_PROCID"
exit "$code"
