#!/usr/bin/env bash
# Install what vmferry's demo and tests need on Debian 12: apt packages, uv, the virtual environment.
# Idempotent: what is there is left alone. Works as root and with sudo. `infra/setup.sh demo`: without what only tests need.
set -euo pipefail
cd "$(dirname "$0")/.."

UV_VERSION=0.13.9
BUILD_PACKAGES=(ca-certificates git gcc libc6-dev libvirt-dev make pkg-config python3 python3-dev python3-venv xz-utils)

say() { printf '\033[1m== %s\033[0m\n' "$*"; }
as_root() { if [ "$(id -u)" = 0 ]; then env "$@"; else sudo env "$@"; fi; }

install_packages() {
  local wanted=("${BUILD_PACKAGES[@]}") missing=() package
  local lists=(infra/lab/packages.txt)
  [ "${1:-}" = demo ] || lists+=(infra/test-packages.txt)
  mapfile -t -O "${#wanted[@]}" wanted < <(grep -hvE '^\s*(#|$)' "${lists[@]}")
  for package in "${wanted[@]}"; do
    dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
  done
  [ "${#missing[@]}" -gt 0 ] || return 0
  say "installing ${#missing[@]} Debian packages: ${missing[*]}"
  if [[ " ${missing[*]} " = *" postgresql "* ]] && [ ! -e /etc/postgresql-common/createcluster.conf ]; then
    # Tests make clusters of their own; Debian's package would start one on port 5432.
    as_root mkdir -p /etc/postgresql-common
    echo 'create_main_cluster = false' | as_root tee /etc/postgresql-common/createcluster.conf >/dev/null
  fi
  as_root DEBIAN_FRONTEND=noninteractive apt-get -qq update
  as_root DEBIAN_FRONTEND=noninteractive apt-get -qq install --yes --no-install-recommends "${missing[@]}" >/dev/null
}

find_uv() {
  if command -v uv >/dev/null && uv --version >/dev/null 2>&1; then
    command -v uv
    return
  fi
  if [ ! -x .bootstrap/bin/uv ]; then
    say "installing uv $UV_VERSION" >&2
    python3 -m venv .bootstrap >&2
    .bootstrap/bin/pip install --quiet --disable-pip-version-check "uv==$UV_VERSION" >&2
  fi
  echo .bootstrap/bin/uv
}

install_packages "${1:-}"
uv=$(find_uv)
if ! "$uv" sync --frozen --quiet --check 2>/dev/null; then
  say "making the virtual environment from uv.lock (libvirt-python is compiled)"
  # The system's Python: nothing but packages is downloaded.
  # Byte code is made now: without it every command would compile Prefect again (measured: 10 s each).
  # An environment that is there keeps its Python: another one would remove it while it may be in use.
  [ -x .venv/bin/python ] || export UV_PYTHON="$(command -v python3)"
  UV_PYTHON_DOWNLOADS=never "$uv" sync --frozen --compile-bytecode
fi
# Only a test needs it: without the mirrors the demo works all the same.
infra/libvirt_corpus.sh || say "libvirt's test suite is not here: tests/unit/corpus will fail until infra/libvirt_corpus.sh works"
