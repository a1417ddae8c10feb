#!/bin/sh
# Copies the sources of the work tree, as they are, to a folder: not what a build or a test has made.
#
#   test/packaging/copy.sh FOLDER
#
# With SOURCE_DATE_EPOCH set all files have that time.
set -eu
cd "$(dirname "$0")/../.."

# Without git the tree is a tarball, and all of it is meant. It may be unpacked in another's git.
list_sources() {
    if prefix=$(git rev-parse --show-prefix 2>/dev/null) && [ -z "$prefix" ]; then
        git ls-files --cached --others --exclude-standard
    else
        find . \( -path ./build -o -path ./.git \) -prune -o -type f -print
    fi
}

mkdir -p "$1"
# Files that were removed are still listed until that is committed.
list_sources | while read -r file; do [ ! -e "$file" ] || echo "$file"; done |
    tar ${SOURCE_DATE_EPOCH:+"--mtime=@$SOURCE_DATE_EPOCH"} -cf - -T - | tar -xf - -C "$1"
