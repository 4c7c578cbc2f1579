#!/bin/sh
# Fuzzes every target, two at a time, and keeps what is worth keeping in fuzz/corpus.
#   fuzz/run.sh [SECONDS FOR EACH [TARGET...]]
# Needs cargo-fuzz and a nightly toolchain. The exit status is 0 if nothing was found.
set -eu
cd "$(dirname "$0")"
seconds=${1:-300}
[ $# -eq 0 ] || shift
[ $# -gt 0 ] || set -- $(cargo +nightly fuzz list)
cargo +nightly fuzz build
programs=$PWD/target/$(rustc +nightly -vV | sed -n 's/^host: //p')/release
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
as_nobody=
chmod 755 "$work"
# Under root the Exim face answers from a forked child, where no coverage is seen.
[ "$(id -u)" != 0 ] || as_nobody="setpriv --reuid=65534 --regid=65534 --clear-groups"

fuzz() {
    target=$1
    mkdir "$work/$target" "$work/$target/corpus" "$work/$target/found" "$work/$target/least"
    cp "corpus/$target"/* "$work/$target/corpus" 2>/dev/null || :
    [ -z "$as_nobody" ] || chown -R 65534:65534 "$work/$target"
    options="-timeout=10 -rss_limit_mb=2000 -max_len=2048 -print_final_stats=1 -detect_leaks=0"
    # At its end a program is looked through for leaks; what Exim is handed as a message is leaked on purpose.
    case $target in exim | certificate) ASAN_OPTIONS=detect_leaks=0 ;; *) ASAN_OPTIONS=detect_leaks=1 ;; esac
    export ASAN_OPTIONS
    status=0
    (cd "$work/$target" && TMPDIR=$work/$target nice -n 10 $as_nobody "$programs/$target" $options \
        -max_total_time="$seconds" -artifact_prefix=found/ corpus) > "$work/$target.log" 2>&1 || status=$?
    executions=$(sed -n 's/^stat::number_of_executed_units: *//p' "$work/$target.log")
    covered=$(sed -n 's/.* cov: \([0-9]*\) ft: .*/\1/p' "$work/$target.log" | tail -n 1)
    echo "$target: ${seconds} s, ${executions:-?} executions, ${covered:-?} edges, status $status"
    if [ "$status" != 0 ]; then
        tail -n 60 "$work/$target.log"
        mkdir -p "artifacts/$target" && cp "$work/$target/found"/* "artifacts/$target" 2>/dev/null || :
        echo "$target" >> "$work/failed"
        return
    fi
    (cd "$work/$target" && TMPDIR=$work/$target nice -n 10 $as_nobody "$programs/$target" $options -set_cover_merge=1 least corpus) \
        > "$work/$target.merge.log" 2>&1 || { tail -n 20 "$work/$target.merge.log"; return; }
    mkdir -p "corpus/$target"
    rm -f "corpus/$target"/*
    # At most 200, of all sizes.
    ls -Sr "$work/$target/least" > "$work/$target/names"
    step=$((($(wc -l < "$work/$target/names") + 199) / 200))
    awk -v step="$step" '(NR - 1) % step == 0' "$work/$target/names" | while read -r name; do
        cp "$work/$target/least/$name" "corpus/$target/"
    done
}

waiting=0
for target in "$@"; do
    fuzz "$target" &
    waiting=$((waiting + 1))
    if [ $((waiting % 2)) = 0 ]; then wait; fi
done
wait
[ ! -e "$work/failed" ] || { echo "found something in: $(tr '\n' ' ' < "$work/failed")"; exit 1; }
