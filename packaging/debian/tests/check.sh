# Sourced by the tests: what a command must end with and say.

fault() {
    echo "FAULT: $*" >&2
    exit 1
}

# says WORDS COMMAND...: it succeeds and prints these words.
says() {
    words=$1
    shift
    said=$("$@" 2>&1) || fault "$* ends with $?: $said"
    has "$words" "$*"
}

# fails_with WORDS COMMAND...: it does not succeed, and prints these words.
fails_with() {
    words=$1
    shift
    ! said=$("$@" 2>&1) || fault "$* succeeds: $said"
    has "$words" "$*"
}

has() {
    case $said in
    *"$1"*) echo "ok: $2: $1" ;;
    *) fault "$2 does not say \`$1\`, but: $said" ;;
    esac
}
