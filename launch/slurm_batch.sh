# shellcheck shell=bash
# The batch script. It unpacks the code, runs the tasks, and requeues the job when they were interrupted.
# shellcheck disable=SC2154
set -uo pipefail

logs=$workdir/logs
state=$folder/exits-$SLURM_JOB_ID
mkdir -p "$logs" "$state" || exit 2
exec >>"$logs/slurm-$SLURM_JOB_ID.log" 2>&1
# Slurm keeps this count with the job. It also counts what it requeues by itself: preemptions and lost nodes.
again=${SLURM_RESTART_COUNT:-0}
echo "job $SLURM_JOB_ID on ${SLURM_JOB_NODELIST:-?}, restart $again of $restarts"
if [ "$again" -gt "$restarts" ]; then
  echo "job $SLURM_JOB_ID was interrupted again after $restarts restarts; the same command continues the run"
  exit 3
fi

# The job runs the code that was submitted.
code=$folder/code-$sha256
if [ ! -d "$code" ]; then
  printf '%s  %s\n' "$sha256" "$folder/$archive" | sha256sum --check --status || {
    echo "jaxbert: error: $folder/$archive is not what was submitted (sha256)"
    exit 4
  }
  mkdir -p "$code.$SLURM_JOB_ID" && tar -xzf "$folder/$archive" -C "$code.$SLURM_JOB_ID" || exit 3
  mv -T "$code.$SLURM_JOB_ID" "$code" 2>/dev/null || [ -d "$code" ] || exit 3
fi
export PYTHONPATH=$code

# Slurm sends SIGTERM to this shell when somebody cancels or requeues the job. Then this script must not requeue it.
told=
trap 'told=1' TERM
rm -f "$state"/*
srun --export=ALL --kill-on-bad-exit=0 bash "$task" "$state"
code=$?

# srun returns the highest exit code of all tasks. Each task's own code says whether a restart can help.
worst=
for bad in 1 4 2; do
  for file in "$state"/*; do
    if [ -z "$worst" ] && [ -f "$file" ] && [ "$(cat "$file")" = "$bad" ]; then worst=$bad; fi
  done
done
rm -rf "$state"
if [ "$code" -eq 0 ] || [ -n "$worst" ]; then
  echo "job $SLURM_JOB_ID ended with ${worst:-0}"
  exit "${worst:-0}"
fi
if [ -n "$told" ]; then
  echo "job $SLURM_JOB_ID was told to end; the same command continues the run"
elif [ "$again" -ge "$restarts" ]; then
  echo "job $SLURM_JOB_ID was interrupted again after $again restarts; the same command continues the run"
else
  echo "job $SLURM_JOB_ID was interrupted (srun: $code); restarting it"
  # To requeue the job, Slurm ends this shell. A shell that ends earlier by itself would count as a failed job.
  trap - TERM
  scontrol requeue "$SLURM_JOB_ID" && sleep 300
  echo "job $SLURM_JOB_ID could not be requeued; the same command continues the run"
fi
exit 3
