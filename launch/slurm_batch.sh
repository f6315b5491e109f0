# shellcheck shell=bash
# The batch script: unpacks the code, runs the tasks, and starts the job again where they were interrupted.
# shellcheck disable=SC2154
set -uo pipefail

logs=$workdir/logs
state=$folder/exits-$SLURM_JOB_ID
mkdir -p "$logs" "$state" || exit 2
exec >>"$logs/slurm-$SLURM_JOB_ID.log" 2>&1
again=${SLURM_RESTART_COUNT:-0}
echo "job $SLURM_JOB_ID on ${SLURM_JOB_NODELIST:-?}, restart $again of $restarts"

# What runs is what was submitted.
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

# Slurm tells this shell to end where the job was cancelled or is requeued from outside: then it is not ours to requeue.
told=
trap 'told=1' TERM
rm -f "$state"/*
srun --export=ALL --kill-on-bad-exit=0 bash "$task" "$state"
code=$?

# srun's is the highest of all; which of them repeating cannot help is looked up in each.
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
  echo "job $SLURM_JOB_ID was told to end; the same command continues"
elif [ "$again" -ge "$restarts" ]; then
  echo "job $SLURM_JOB_ID was interrupted once more, and has been started again $again times; the same command continues"
else
  echo "job $SLURM_JOB_ID was interrupted (srun: $code): it is started again"
  # Slurm ends this shell for it. One that ends by itself meanwhile is a job that has failed, and stays so.
  trap - TERM
  scontrol requeue "$SLURM_JOB_ID" && sleep 300
  echo "job $SLURM_JOB_ID could not be requeued; the same command continues"
fi
exit 3
