# shellcheck shell=bash
# Runs on a bare machine, at every start of every machine of the job. It installs the environment of the lock file,
# unpacks the code that was submitted, and trains. After an interruption it trains again. It does no step twice.
# shellcheck disable=SC2154
set -uo pipefail

home=${JAXBERT_HOME:-/opt/jaxbert}
log=${JAXBERT_LOG:-/var/log/jaxbert.log}
metadata=http://metadata.google.internal/computeMetadata/v1/instance/attributes
mkdir -p "$home" || exit 2
exec >>"$log" 2>&1

say() { echo "$(date -u +%FT%TZ) jaxbert: $*"; }

patiently() {
  local try
  for try in 1 2 3 4 5; do
    "$@" && return 0
    say "failed (try $try of 5): $1 $2"
    sleep "$((try * ${JAXBERT_PATIENCE_S:-15}))"
  done
  return 1
}

unpack() {
  local arrived=$home/$sha256.tar.gz
  [ -d "$code" ] && return 0
  patiently gcloud storage cp "$archive" "$arrived" || return 2
  printf '%s  %s\n' "$sha256" "$arrived" | sha256sum --check --status || {
    rm -f "$arrived"
    say "error: $archive is not what was submitted (sha256)"
    return 4
  }
  rm -rf "$code.partial" && mkdir -p "$code.partial" && tar -xzf "$arrived" -C "$code.partial" && mv "$code.partial" "$code"
}

environment() {
  local lock=$code/requirements.lock
  python=$home/env-$(sha256sum "$lock" | cut -c1-16)/bin/python
  [ -e "$(dirname "$python")/.installed" ] && return 0
  local uv=$home/uv/bin/uv
  python3 -m pip --version >/dev/null 2>&1 || patiently apt-get install -y -qq python3-pip || return 2
  [ -x "$uv" ] || patiently python3 -m pip install --quiet --target "$home/uv" "uv==$uv_version" || return 2
  # --no-deps installs exactly the packages and versions of the lock file.
  patiently "$uv" venv --quiet --clear --python "$python_version" "$(dirname "$(dirname "$python")")" &&
    patiently "$uv" pip install --quiet --python "$python" --no-deps --requirement "$lock" &&
    touch "$(dirname "$python")/.installed" || return 2
}

secrets() {
  local pair value
  for pair in "${secrets[@]}"; do
    value=$(patiently gcloud secrets versions access latest "--secret=${pair#*=}" "--project=$project") || return 2
    export "${pair%%=*}=$value"
  done
}

train() {
  export PYTHONPATH=$code JAXBERT_JOB=$name PYTHONUNBUFFERED=1
  # pretrain ends with 2 where jax finds other devices.
  export JAXBERT_PLATFORM=tpu JAXBERT_DEVICES=$devices
  cd "$home" || return 2
  "$python" -P -m jaxbert pretrain "${arguments[@]}" &
  child=$!
  trap 'told=1; kill -TERM "$child" 2>/dev/null' TERM INT
  while kill -0 "$child" 2>/dev/null; do wait "$child"; done
  wait "$child"
}

# Process 0 runs on worker 0 of slice 0. Each log is copied to the bucket, where it remains when the machines are gone.
worker=$(curl -sf -H 'Metadata-Flavor: Google' "$metadata/agent-worker-number")
slice=$(curl -sf -H 'Metadata-Flavor: Google' "$metadata/tpu-env" | sed -n "s/^MEGASCALE_SLICE_ID: *'\?\([0-9]*\).*/\1/p")
worker=${worker:-0} slice=${slice:-0}
show() { gcloud storage cp "$log" "$workdir/logs/worker-$slice-$worker.log" >/dev/null 2>&1; }
while sleep "${JAXBERT_SHOW_S:-60}"; do show; done &
showing=$!

told=
child=
python=
code=$home/code-$sha256
# Starts are counted on the machine's disk, which a reboot keeps. So a machine that reboots does not begin a new count.
count=$home/starts-$name
while :; do
  start=$(($(sed -n 's/^\([1-9][0-9]\{0,8\}\)$/\1/p;1q' "$count" 2>/dev/null || echo 0) + 1))
  if [ "$start" -gt "$((restarts + 1))" ]; then
    say "the run was interrupted again after $restarts restarts; the same launch command continues it"
    status=3
    break
  fi
  { echo "$start" >"$count.new" && mv -f "$count.new" "$count"; } || {
    say "error: this start cannot be counted, so nothing would limit the restarts: $count"
    status=4
    break
  }
  unpack && environment && secrets && train
  status=$?
  # A process that a signal has killed was interrupted.
  [ "$status" -gt 128 ] && status=3
  if [ "$status" -ne 3 ] || [ -n "$told" ] || [ "$start" -gt "$restarts" ]; then break; fi
  say "the run was interrupted; restarting it ($start of $restarts)"
  sleep "$((start < 10 ? start * ${JAXBERT_PATIENCE_S:-15} : 150))"
done
say "ended with $status"
kill "$showing" 2>/dev/null
show || say "the log could not be copied to the bucket; it is on this machine: $log"

# The machines cost money until they are removed. Process 0 writes last, so its machine removes them. It does not when it
# was told to end, because then the provider takes the machine, and the same command continues the run.
if [ -z "$told" ] && [ "$worker" = 0 ] && [ "$slice" = 0 ]; then
  sleep "${JAXBERT_LINGER_S:-60}"
  say "removing the machines"
  "${remove[@]}" || say "error: the machines are still there and cost money: jaxbert launch stop --workdir $workdir"
fi
exit "$status"
