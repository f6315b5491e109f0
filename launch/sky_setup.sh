# shellcheck shell=bash
# Runs once on each node. It unpacks the code that was submitted and installs the environment of the lock file.
# shellcheck disable=SC2154
set -euo pipefail
home=$HOME/.jaxbert
code=$home/code-$sha256
mkdir -p "$home"
printf '%s  %s\n' "$sha256" "$HOME/jaxbert-code.tar.gz" | sha256sum --check --status || {
  echo "jaxbert: error: the code is not what was submitted (sha256)"
  exit 4
}
if [ ! -d "$code" ]; then
  rm -rf "$code.partial"
  mkdir -p "$code.partial"
  tar -xzf "$HOME/jaxbert-code.tar.gz" -C "$code.partial"
  mv "$code.partial" "$code"
fi
lock=$code/requirements.lock
older=$code/requirements-older-driver.lock
if [ -e "$older" ]; then
  text=$(cat "${JAXBERT_DRIVER:-/proc/driver/nvidia/version}" 2>/dev/null || true)
  driver=$(grep -oE '[0-9]{3,}\.[0-9]+(\.[0-9]+)?' <<<"$text" | head -n 1 || true)
  if [ -n "$driver" ] && [ "${driver%%.*}" -lt "$newest_driver" ]; then lock=$older; fi
  echo "jaxbert: NVIDIA driver ${driver:-unknown}, so the environment is that of $(basename "$lock")"
fi
environment=$home/env-$(sha256sum "$lock" | cut -c1-16)
if [ ! -e "$environment/.installed" ]; then
  python3 -m pip install --quiet --target "$home/uv" "uv==$uv_version"
  "$home/uv/bin/uv" venv --quiet --clear --python "$python_version" "$environment"
  # --no-deps installs exactly the packages and versions of the lock file.
  "$home/uv/bin/uv" pip install --quiet --python "$environment/bin/python" --no-deps --requirement "$lock"
  touch "$environment/.installed"
fi
ln -sfn "$environment" "$home/environment"
