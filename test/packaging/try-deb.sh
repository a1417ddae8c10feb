#!/bin/bash
# Tries the Debian package as an operator does, on a small Debian of its own: install, start, watchdog,
# stop, upgrade, sockets, remove, purge. systemd runs there as it does on a machine, in a container
# without a network. Prints a transcript: docs/install/README.md has one.
#
#   test/packaging/try-deb.sh DEB [RELEASE]       bookworm, if not given
#
# As root, with mmdebstrap, systemd-nspawn and a Debian mirror (MIRROR=).
set -euo pipefail
deb=$(readlink -f "$1")
release=${2:-bookworm}
mirror=${MIRROR:-http://deb.debian.org/debian}
here=$(dirname "$(readlink -f "$0")")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
root=$work/root

# The same package with a higher version, which changes its example of a config file.
make_newer() {
    dpkg-deb -R "$1" "$work/newer"
    sed -i 's/^Version: .*/&+1/' "$work/newer/DEBIAN/control"
    echo '# A line that the newer package has.' >>"$work/newer/etc/nsq/nsqd.cfg"
    dpkg-deb --root-owner-group -b "$work/newer" "$2" >/dev/null
}

# What the package depends on is there before: the container has no network.
depends() {
    dpkg-deb -f "$deb" Depends | sed 's/([^)]*)//g; s/|[^,]*//g' | tr -d ' '
}

mmdebstrap --quiet --variant=minbase --include="systemd-sysv,procps,curl,$(depends)" \
    "$release" "$root" "$mirror"
mkdir "$root/try"
cp "$deb" "$root/try/nsqd-c.deb"
make_newer "$deb" "$root/try/newer.deb"
cp "$here/try-guest.sh" "$root/try/"
cat >"$root/etc/systemd/system/try.service" <<'END'
[Unit]
After=multi-user.target
SuccessAction=exit-force
FailureAction=exit-force
[Service]
Type=oneshot
ExecStart=/bin/bash /try/try-guest.sh
StandardOutput=file:/try/transcript
StandardError=inherit
TimeoutStartSec=300
END
mkdir -p "$root/etc/systemd/system/multi-user.target.wants"
ln -s ../try.service "$root/etc/systemd/system/multi-user.target.wants/"
timeout 400 systemd-nspawn --quiet -D "$root" --private-network --register=no --keep-unit -b \
    --console=pipe </dev/null >"$work/console" 2>&1 || true
cat "$root/try/transcript" || { cat -v "$work/console" && exit 1; }
tail -n 1 "$root/try/transcript" | grep -qx 'tried: all as it should be'
