# shellcheck shell=bash
# Runs one task: `jaxbert pretrain`, which finds the other tasks by Slurm's variables. Argument: a directory for exit
# codes.
# shellcheck disable=SC2154
set -u

# In a job array, each job trains with one seed, in its own workdir. Without a list of seeds, its number is the seed.
if [ -n "${SLURM_ARRAY_TASK_ID:-}" ]; then
  seed=${seeds[SLURM_ARRAY_TASK_ID]:-$SLURM_ARRAY_TASK_ID}
  workdir=$workdir/seed-$seed
  arguments+=(--set "seed=$seed" --workdir "$workdir")
fi

# The job runs the code that was submitted. An image may have another value.
export PYTHONPATH=$code
# `pretrain` ends with exit 2 where jax finds another platform, or another number of devices.
export "${settings[@]}"

command=(${container[@]+"${container[@]}"} "$python" -P -m jaxbert pretrain "${arguments[@]}" --distributed)
"${command[@]}" >>"$workdir/logs/process-$SLURM_PROCID.log" 2>&1 &
child=$!
# This shell passes SIGTERM on to Python, which saves a checkpoint and ends with 3, and then reports that code.
trap 'kill -TERM "$child" 2>/dev/null' TERM
while kill -0 "$child" 2>/dev/null; do wait "$child"; done
wait "$child"
code=$?
# Python, Apptainer or the image could not be started (126, 127, 255). Repeating does not help.
case $code in 126 | 127 | 255) code=2 ;; esac
echo "$code" >"$1/$SLURM_PROCID"
exit "$code"
