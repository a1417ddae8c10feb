#!/bin/sh
# prometheus.sh DIRECTORY: puts prometheus and promtool into DIRECTORY: those of the machine, or
# else those of Debian's package. That is unpacked and not installed: it would start a service, and
# its 20 MB are a tenth of what it and its dependencies need on the disk. Without a package nothing
# is there; the tests that want it say so.
set -eu
dir=$1
[ -x "$dir/promtool" ] && [ -x "$dir/prometheus" ] && exit 0
mkdir -p "$dir"
if command -v prometheus >/dev/null && command -v promtool >/dev/null; then
    ln -sf "$(command -v prometheus)" "$(command -v promtool)" "$dir"
    exit 0
fi
command -v apt-get >/dev/null || exit 0
scrap=$(mktemp -d "$dir/unpack.XXXXXX")
trap 'rm -rf "$scrap"' EXIT
# As root apt would like to download as another user, who may not write there.
(cd "$scrap" && timeout 120 apt-get -qq -o APT::Sandbox::User=root -o Acquire::Retries=1 \
    download prometheus) >"$scrap/log" 2>&1 || { sed 's/^/prometheus: /' "$scrap/log" >&2; exit 0; }
dpkg -x "$scrap"/prometheus_*.deb "$scrap/root"
mv "$scrap/root/usr/bin/prometheus" "$scrap/root/usr/bin/promtool" "$dir"
