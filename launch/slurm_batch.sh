# shellcheck shell=bash
# The batch script. It unpacks the code, runs the tasks, and requeues the job when they were interrupted.
# shellcheck disable=SC2154
set -uo pipefail

# Restarts the job after an interruption, as often as it may, or says why not. Argument: the interruption.
interrupted() {
  if [ -n "$told" ]; then
    echo "job $job was told to end; the same command continues the run"
  elif [ "$again" -ge "$restarts" ]; then
    echo "job $job was interrupted again after $again restarts; the same command continues the run"
  else
    echo "job $job was interrupted ($1); restarting it"
    # To requeue the job, Slurm ends this shell. A shell that ends earlier by itself would count as a failed job.
    trap - TERM
    scontrol requeue "$job" && sleep 300
    echo "job $job could not be requeued; the same command continues the run"
  fi
  exit 3
}

told=
# In a job array, each job trains with one seed, in its own workdir. Without a list of seeds, its number is the seed.
run=$workdir
job=$SLURM_JOB_ID
if [ -n "${SLURM_ARRAY_TASK_ID:-}" ]; then
  run=$workdir/seed-${seeds[SLURM_ARRAY_TASK_ID]:-$SLURM_ARRAY_TASK_ID}
  # The number of an array's job may be that of the whole array, which must not be requeued.
  job=${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID
fi
logs=$run/logs
state=$folder/exits-$SLURM_JOB_ID
mkdir -p "$logs" "$state" || exit 2
exec >>"$logs/slurm-$SLURM_JOB_ID.log" 2>&1
# Slurm keeps this count with the job. It also counts what it requeues by itself: preemptions and lost nodes.
again=${SLURM_RESTART_COUNT:-0}
echo "job $job on ${SLURM_JOB_NODELIST:-?}, restart $again of $restarts"
if [ "$again" -gt "$restarts" ]; then
  echo "job $job was interrupted again after $restarts restarts; the same command continues the run"
  exit 3
fi

# The job runs the code that was submitted.
if [ ! -d "$code" ]; then
  printf '%s  %s\n' "$sha256" "$folder/$archive" | sha256sum --check --status || {
    echo "jaxbert: error: $folder/$archive is not what was submitted (sha256)"
    exit 4
  }
  { mkdir -p "$code.$SLURM_JOB_ID" && tar -xzf "$folder/$archive" -C "$code.$SLURM_JOB_ID"; } ||
    interrupted "the code could not be unpacked in $folder"
  # Another job of the array may have been faster.
  mv -T "$code.$SLURM_JOB_ID" "$code" 2>/dev/null || { [ -d "$code" ] && rm -rf "$code.$SLURM_JOB_ID"; } ||
    interrupted "the code could not be moved to $code"
fi

# srun of release 22.05 and later does not take over --cpus-per-task, and gives a task one core. So each task is given
# its share of the cores that its node gave to the job. The list is like "72(x2),36", and all tasks take the least.
cores=$(tr ',' '\n' <<<"${SLURM_JOB_CPUS_PER_NODE:-1}" | sed 's/(.*//' | sort -n | head -n 1)
cores=$((cores / tasks))
# Slurm gives whole cores. Where a core has two threads, an odd number of threads would be rounded up, beyond the share.
if [ "$tasks" -gt 1 ] && [ "$cores" -gt 1 ] && [ "$(cat /sys/devices/system/cpu/smt/active 2>/dev/null)" = 1 ]; then
  cores=$((cores / 2 * 2))
fi
[ "$cores" -ge 1 ] || cores=1
echo "each of the $tasks tasks of a node has $cores cores"

# A restart does not help if the image or pyxis is missing.
if [[ $image == /* && ! -e $image ]]; then
  echo "jaxbert: error: $image, the image of the container, is not on ${SLURMD_NODENAME:-this node}"
  exit 2
fi
if [ "${#container[@]}" -gt 0 ] && [[ $(srun --help 2>&1) != *--container-image* ]]; then
  echo "jaxbert: error: srun has no --container-image, so this cluster has no pyxis; give --container-runtime apptainer"
  exit 2
fi

# Slurm sends SIGTERM to this shell when somebody cancels or requeues the job. Then this script must not requeue it.
trap 'told=1' TERM
rm -f "$state"/*
srun --export=ALL --kill-on-bad-exit=0 "--cpus-per-task=$cores" ${container[@]+"${container[@]}"} bash "$task" "$state"
ended=$?

# srun returns the highest exit code of all tasks. Each task's own code says whether a restart can help.
worst=
for bad in 1 4 2; do
  for file in "$state"/*; do
    if [ -z "$worst" ] && [ -f "$file" ] && [ "$(cat "$file")" = "$bad" ]; then worst=$bad; fi
  done
done
rm -rf "$state"
if [ "$ended" -eq 0 ] || [ -n "$worst" ]; then
  echo "job $job ended with ${worst:-0}"
  exit "${worst:-0}"
fi
interrupted "srun: $ended"
