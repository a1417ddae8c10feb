#!/bin/sh
# check.sh STAGE...: makes each STAGE, a target of the Makefile, one after the other. Closes with
# a table of what became of each, and with what could not be tested. `make check` and `make quick`
# run it. From the environment:
#
#   KEEP=1     go on after a stage that fails; otherwise those behind it are not run
#   RESULTS    the file for the same table: stage, result and seconds, with a tab between them
#   SKIPPED    the file in which stages leave what they could not test (skip.sh)
#   LEFT_OUT   text: what this run leaves out on purpose
#
# Results: "ok"; "FAILED"; "not run"; "not tested" where a stage passed, but had to leave out
# something. Ends with 0 if no stage failed, with 130 upon Ctrl-C, else with 1.
set -u
: "${RESULTS:?}" "${SKIPPED:?}"
case ${KEEP:-0} in 0) keep= ;; *) keep=1 ;; esac
# Where the caller has said -j, make shares those jobs with its children.
case ${MAKEFLAGS:-} in *jobserver*) jobs= ;; *) jobs=-j$(nproc) ;; esac
failed=
stopped=
# The stage gets the signal from the terminal as well. The shell waits for its end all the same,
# so that the table comes last.
trap 'stopped=1' INT TERM HUP

skipped_lines() {
    if [ -e "$SKIPPED" ]; then wc -l <"$SKIPPED"; else echo 0; fi
}

# Makes the stage, and sets $result.
run() {
    lines=$(skipped_lines)
    echo "== $1"
    # shellcheck disable=SC2086
    if ! "${MAKE:-make}" --no-print-directory $jobs "$1" || [ -n "$stopped" ]; then
        result=FAILED
        failed=1
    elif [ "$(skipped_lines)" -gt "$lines" ]; then
        result='not tested'
    else
        result=ok
    fi
}

print_table() {
    printf '\n%-20s %-12s %7s\n' stage result seconds
    tab=$(printf '\t')
    while IFS=$tab read -r stage result seconds; do
        printf '%-20s %-12s %7s\n' "$stage" "$result" "$seconds"
    done <"$RESULTS"
}

mkdir -p "$(dirname "$RESULTS")" "$(dirname "$SKIPPED")"
rm -f "$SKIPPED"
: >"$RESULTS"
for stage in "$@"; do
    seconds=-
    if [ -n "$stopped" ] || { [ -n "$failed" ] && [ -z "$keep" ]; }; then
        result='not run'
    else
        began=$(date +%s)
        run "$stage"
        seconds=$(($(date +%s) - began))
    fi
    printf '%s\t%s\t%s\n' "$stage" "$result" "$seconds" >>"$RESULTS"
done

print_table
if [ -s "$SKIPPED" ]; then
    echo
    sort -u "$SKIPPED"
fi
if [ -n "${LEFT_OUT:-}" ]; then
    printf '\n%s\n' "$LEFT_OUT"
elif [ -z "$failed" ] && [ ! -s "$SKIPPED" ]; then
    echo '== everything has been tested'
fi
if [ -n "$stopped" ]; then
    echo '== stopped'
    exit 130
fi
[ -z "$failed" ]
