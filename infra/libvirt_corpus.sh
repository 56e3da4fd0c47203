#!/usr/bin/env bash
# Fetch every XML file of libvirt's source, above all of its test suite: tests/unit/corpus judges them. Debian's source
# package, from the Debian mirrors that this machine already uses. Idempotent; needs no root.
set -euo pipefail
cd "$(dirname "$0")/.."

CORPUS=.cache/libvirt-corpus
STAMP="$CORPUS/SOURCE"  # written last: without it the directory is an attempt that failed

[ ! -e "$STAMP" ] || exit 0

work=$(mktemp -d "${TMPDIR:-/var/tmp}/vmferry-corpus.XXXXXX")
trap 'rm -rf "$work"' EXIT

# deb-src lines for the suites of this Debian that apt knows as deb; the machine's own lists are not touched.
debian_sources() {
  local codename
  codename=$(. /etc/os-release && echo "$VERSION_CODENAME")
  apt-get indextargets --no-release-info --format '$(REPO_URI) $(RELEASE) $(COMPONENT)' 'Created-By: Packages' |
    grep -E " ($codename|stable)(-security|-updates)? main\$" | sort -u | sed 's/^/deb-src /'
}

apt() {
  local user=()
  [ "$(id -u)" != 0 ] || user=(-o APT::Sandbox::User=root)  # apt's own user could not write into our directory
  apt-get -qq "${user[@]}" -o Dir::State="$work/state" -o Dir::State::status="$work/status" -o Dir::Cache="$work/cache" \
    -o Dir::Etc::sourcelist="$work/sources.list" -o Dir::Etc::sourceparts=- -o Acquire::Languages=none "$@"
}

mkdir -p "$work/state/lists/partial" "$work/cache/archives/partial" "$work/source"
touch "$work/status"
debian_sources >"$work/sources.list"
if [ ! -s "$work/sources.list" ]; then
  echo "no Debian mirror of this release is known to apt; look at /etc/apt/sources.list*" >&2
  exit 1
fi
echo "fetching libvirt's test suite (Debian source package, 10 MB)"
apt update
(cd "$work/source" && apt source --download-only libvirt)

archives=("$work"/source/libvirt_*.orig.tar.xz)
mkdir -p .cache
rm -rf "$CORPUS" "$CORPUS.new"
mkdir "$CORPUS.new"
tar -xJf "${archives[0]}" -C "$CORPUS.new" --strip-components=1 --no-same-owner --wildcards '*.xml'
basename "${archives[0]}" >"$CORPUS.new/SOURCE"
mv "$CORPUS.new" "$CORPUS"
echo "$(find "$CORPUS" -name '*.xml' | wc -l) files of $(cat "$STAMP")"
