#!/bin/sh
# figure.sh NAME VALUE UNIT: says what a stage has done, to `make proof`. Does nothing outside of it:
# PROOF_FILE is the file for such lines, with a tab between the three. Equal units are added up.
set -eu
[ -z "${PROOF_FILE:-}" ] || printf '%s\t%s\t%s\n' "$1" "$2" "$3" >>"$PROOF_FILE"
