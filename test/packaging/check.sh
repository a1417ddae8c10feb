#!/bin/bash
# What packagers count on: the same binary in any folder, install and uninstall, the Debian package,
# the unit. Needs no root and no network.
#
#   MAKE=make test/packaging/check.sh
set -euo pipefail
cd "$(dirname "$0")/../.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# What a make above has set is not for the ones below.
unset MAKEFLAGS MFLAGS MAKELEVEL DESTDIR PREFIX
make="${MAKE:-make} --no-print-directory -j$(nproc)"

fail() {
    echo "packaging: $*" >&2
    exit 1
}

# (Blanks and apostrophes may be in a folder's name.)
same_binary_everywhere() {
    local folder
    for folder in a "a/much longer/maker's name"; do
        test/packaging/copy.sh "$work/$folder"
        $make -C "$work/$folder" >"$work/log" 2>&1 || { tail "$work/log" && fail 'no build'; }
        mv "$work/$folder/build/nsqd" "$work/nsqd.${#folder}"
    done
    cmp "$work"/nsqd.* || fail 'two folders give two binaries'
    mv "$work/nsqd.1" "$work/nsqd.a"
    ! grep -q -F "$work" "$work/nsqd.a" || fail 'the folder of the build is in the binary'
}

# What install writes uninstall removes, and nothing else.
install_into() {
    local root=$1 prefix=$2
    mkdir -p "$root$prefix/bin"
    echo mine >"$root$prefix/bin/mine"
    $make -C "$work/a" install "DESTDIR=$root" "PREFIX=$prefix" >/dev/null
    [ -x "$root$prefix/bin/nsqd" ] || fail 'install: no daemon'
    [ -z "$(find "$root" -type f ! -path "$root$prefix/*" ! -path "$root/etc/*")" ] ||
        fail 'install: files elsewhere'
    $make -C "$work/a" uninstall "DESTDIR=$root" "PREFIX=$prefix" >/dev/null
    [ "$(find "$root" -type f)" = "$root$prefix/bin/mine" ] || fail 'uninstall: it leaves or takes'
}

install_and_uninstall() {
    mkdir -p "$work/a/build" && cp "$work/nsqd.a" "$work/a/build/nsqd"
    install_into "$work/root" /usr
    install_into "$work/other root" "/opt/maker's own"
}

# A tarball, or an error: never a tarball of nothing.
tarball() {
    ! $make -C "$work/a" dist >"$work/log" 2>&1 || fail 'dist: a tarball without git'
    git -C "$work/a" init -q
    git -C "$work/a" add -A
    git -C "$work/a" -c user.name=n -c user.email=n@example.com commit -q -m all
    $make -C "$work/a" dist >"$work/log" 2>&1 || fail 'dist: no tarball'
    tar -xzf "$work/a/build/nsqd-c-$1.tar.gz" -C "$work"
    git -C "$work/a" ls-tree -r --name-only HEAD | LC_ALL=C sort >"$work/wanted"
    (cd "$work/nsqd-c-$1" && find . -type f -o -type l) | sed 's|^\./||' | LC_ALL=C sort >"$work/log"
    cmp -s "$work/wanted" "$work/log" || fail 'dist: other files than those of the last commit'
    "$work/nsqd.a" --version=long >"$work/log"
    grep -qx "nsqd-c v$1" "$work/log" || fail 'the daemon has another version'
    # Unpacked in a folder that another project's git ignores, it is still a whole tree.
    tar -xzf "$work/a/build/nsqd-c-$1.tar.gz" -C "$work/a/build"
    "$work/a/build/nsqd-c-$1/test/packaging/copy.sh" "$work/copy"
    diff -r "$work/a/build/nsqd-c-$1" "$work/copy" || fail 'copy: not all of a tarball'
}

# The package's scripts. /var/lib/nsq may be a link, or a disk of its own. What is behind it is the operator's to own, and a
# purge does not stumble over it. (The scripts run here with other paths, and change no owner.)
try_scripts() {
    local root=$work/scripts script name
    mkdir -p "$root/bin" "$root/elsewhere"
    ln -s "$root/elsewhere" "$root/nsq"
    for script in adduser chown chmod dpkg-statoverride stat; do
        printf '#!/bin/sh\necho "%s $*" >>%s/called\n' "$script" "$root" >"$root/bin/$script"
        chmod +x "$root/bin/$script"
    done
    # Links belong to root.
    echo 'echo root:root' >>"$root/bin/stat"
    echo 'exit 1' >>"$root/bin/dpkg-statoverride"
    for script in postinst postrm; do
        sed "s|/var/lib/nsq|$root/nsq|g; s|/etc/nsq|$root/etc|g" \
            "test/packaging/debian/nsqd-c.$script" >"$root/$script"
    done
    PATH=$root/bin:$PATH sh "$root/postinst" configure
    ! grep -E '^ch(own|mod)' "$root/called" || fail 'deb: it takes what is behind a link'
    sh "$root/postrm" purge || fail 'deb: a purge stumbles over a link'
    # A purge takes each file of the daemon, and no other.
    rm "$root/nsq"
    mkdir "$root/nsq"
    for name in nsqd.dat nsqd.dat.1.tmp mine t.diskqueue.{000000.dat,000000.dat.bad,000000.dat.7.bad} \
        't:c.diskqueue.'{000001.dat,meta.dat,meta.dat.12.tmp,meta.dat.bad,meta.dat.3.bad}; do
        echo >"$root/nsq/$name"
    done
    sh "$root/postrm" purge
    [ "$(ls "$root/nsq")" = mine ] || fail "deb: a purge leaves or takes: $(ls "$root/nsq")"
}

debian_package() {
    local deb
    deb=$(test/packaging/deb.sh "$1")
    dpkg-deb -I "$deb" conffiles | sort | tr '\n' ' ' |
        grep -qx '/etc/default/nsqd /etc/nsq/nsqd.cfg ' || fail 'deb: other conffiles'
    lintian --allow-root --fail-on=error,warning "$deb" || fail 'lintian has found faults'
    # It runs, as it is in the package.
    dpkg-deb -x "$deb" "$work/deb"
    "$work/deb/usr/bin/nsqd" --version | grep -q '^nsqd v1\.3\.0 ' || fail 'deb: it does not run'
    # (Not in a pipe: grep would be gone before nm is done, and that would be a failure.)
    nm "$work/deb/usr/bin/nsqd" >"$work/log"
    grep -q ' signals_loop$' "$work/log" || fail 'deb: stacks without names'
}

# The exposure is 2.0 at most (systemd-analyze counts in tenths). Its program is not here.
unit() {
    mkdir "$work/unit"
    sed "s|/usr/bin/nsqd|$work/nsqd.a|" docs/install/nsqd.service >"$work/unit/nsqd.service"
    cp docs/install/nsqd.socket "$work/unit/"
    systemd-analyze verify --man=no "$work"/unit/* || fail 'systemd refuses a unit'
    systemd-analyze security --offline=true --threshold=20 --no-pager "$work/unit/nsqd.service" \
        >"$work/log" || { cat "$work/log" && fail 'the unit leaves too much open'; }
    tail -n 1 "$work/log"
}

same_binary_everywhere
install_and_uninstall
tarball "$1"
try_scripts
debian_package "$1"
unit
echo 'packaging: ok'
