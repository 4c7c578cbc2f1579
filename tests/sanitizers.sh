#!/bin/sh
# Runs the C test programs of tests/c.rs under a sanitizer. The library, SQLite in it and the programs are built with it;
# they share the runtime that comes with Rust, which knows forks, and not gcc's.
#   tests/sanitizers.sh [address | thread]...
# Needs a nightly toolchain with rust-src. The exit status is 0 if nothing was found.
set -eu
cd "$(dirname "$0")/.."
[ $# -gt 0 ] || set -- address thread
sysroot=$(rustc +nightly --print sysroot 2>/dev/null) && [ -d "$sysroot/lib/rustlib/src" ] ||
    { echo "SKIPPED: nightly toolchain with rust-src not installed"; exit 0; }
host=$(rustc +nightly -vV | sed -n 's/^host: //p')
target=${CARGO_TARGET_DIR:-target}/sanitizers
mkdir -p "$target" && target=$(cd "$target" && pwd)

# Runs all tests but those of the options, and but those that run valgrind, bring a malloc of their own, forbid system calls,
# or limit or measure memory.
run() {
    cargo +nightly test --locked $build_std --target "$host" --test c -- \
        --skip valgrind_ --skip a_malloc_ --skip limit_of_memory --skip lookups_use_no_more \
        --skip needs_no_system_call "$@"
}

for sanitizer in "$@"; do
    mkdir -p "$target/$sanitizer"
    case $sanitizer in address) name=asan build_std= ;; *) name=tsan build_std=-Zbuild-std ;; esac
    # gcc looks for the runtime under this name.
    ln -sf "$sysroot/lib/rustlib/$host/lib/librustc-nightly_rt.$name.a" "$target/$sanitizer/lib$name.a"
    export CARGO_TARGET_DIR="$target/$sanitizer"
    export RUSTFLAGS="-Zsanitizer=$sanitizer -Cforce-frame-pointers=yes"
    export TARGET_CFLAGS="-fsanitize=$sanitizer -fno-omit-frame-pointer"
    export MTASTS_SANITIZER_CFLAGS="-fsanitize=$sanitizer -static-lib$name -L$target/$sanitizer -rdynamic"
    # What Exim is handed as a message is never freed.
    echo leak:mtasts::exim::leave > "$target/suppressions"
    export LSAN_OPTIONS="suppressions=$target/suppressions:print_suppressions=0"
    if [ "$sanitizer" = address ]; then
        # The sanitizer opens files of its own.
        run --skip few_descriptors --skip while_a_thread_ends --skip a_cached_answer_opens
        # Nothing is left there to look for leaks with; glibc loses its note of a destructor that comes too late.
        ASAN_OPTIONS=detect_leaks=0 run few_descriptors while_a_thread_ends
    else
        # The hosts there have signal handlers that spoil errno or fork, which are faults of their own.
        run --skip reaps_every_child --skip a_signal_handler_may_fork
    fi
done
