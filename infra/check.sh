#!/usr/bin/env bash
# Everything that is checked without running the product; each tool's own configuration is in pyproject.toml.
set -uo pipefail
cd "$(dirname "$0")/.."
export PATH="$PWD/.venv/bin:$PATH"

failed=()
run() {
  printf '%-14s' "$1"
  local output
  if output=$("${@:2}" 2>&1); then echo ok; else echo FAILED; echo "$output"; failed+=("$1"); fi
}

uv-lock-check() { "$(command -v uv || echo .bootstrap/bin/uv)" lock --check --offline; }
# bash -n reads one file only.
shell-check() { local file; for file in "$@"; do bash -n "$file" || return 1; done; }

run "ruff" ruff check .
run "ruff format" ruff format --check .
run "mypy" mypy
run "import-linter" lint-imports
run "codespell" codespell
run "lock file" uv-lock-check
run "shell" shell-check infra/setup.sh infra/libvirt_corpus.sh infra/check.sh .ci/run
if [ "${#failed[@]}" -gt 0 ]; then echo "failed: ${failed[*]}"; exit 1; fi
