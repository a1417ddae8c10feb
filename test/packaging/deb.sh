#!/bin/sh
# Builds the Debian package: build/nsqd-c_VERSION_ARCH.deb. The sources are those of the work tree,
# copied to build/deb, where debian/ lies as dpkg-buildpackage wants it.
#
#   test/packaging/deb.sh VERSION
#
# SOURCE_DATE_EPOCH: the date of the package; without it that of the last commit, or now.
set -eu
cd "$(dirname "$0")/../.."
version=$1
work=build/deb/nsqd-c-$version

date_of_sources() {
    git log -1 --format=%ct 2>/dev/null || date +%s
}

# One entry: what has changed is in the project's own list.
write_changelog() {
    cat <<END
nsqd-c ($version) unstable; urgency=medium

  * Version $version, built from the project's own sources.

 -- $(sed -n 's/^Maintainer: //p' debian/control)  $(date -R -u -d "@$SOURCE_DATE_EPOCH")
END
}

# The licence, in the form of a machine-readable copyright file.
write_copyright() {
    sed -n '/^Permission/,$p' LICENSE | sed -e 's/^$/./' -e 's/^/ /' >build/licence
    sed -e '/^@LICENSE@$/{r build/licence' -e 'd;}' test/packaging/debian/copyright
    rm -r build
}

SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(date_of_sources)}
export SOURCE_DATE_EPOCH
rm -rf build/deb
test/packaging/copy.sh "$work"
cd "$work"
cp -R test/packaging/debian debian
mkdir -p build
write_copyright >debian/copyright
write_changelog >debian/changelog
DEB_BUILD_OPTIONS="noautodbgsym parallel=$(nproc)" dpkg-buildpackage -b -us -uc >../log 2>&1 || {
    tail -n 50 ../log >&2
    exit 1
}
cd ../..
mv "deb/nsqd-c_${version}_$(dpkg --print-architecture).deb" .
rm -r "deb/nsqd-c-$version"
echo "build/nsqd-c_${version}_$(dpkg --print-architecture).deb"
