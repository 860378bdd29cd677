# What the scripts share: sourced, not run.

# Where downloads go: one folder outside of the tree.
cache=${OUTRIGGER_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/outrigger}

say() { printf '%s\n' "$*" >&2; }

die() {
    say "${0##*/}: $*"
    exit 1
}

# need COMMAND WHAT-IT-IS-FOR: ends the script if the command is missing.
need() {
    command -v "$1" >/dev/null 2>&1 || die "$1 is missing; it is needed to $2"
}

# missing FILE: whether it is not in the cache. Where it is not, nobody else downloads until this script ends: tests ask
# at the same time.
missing() {
    [ ! -e "$1" ] || return 1
    mkdir -p "$cache"
    exec 9>"$cache/.lock"
    flock 9
    [ ! -e "$1" ]
}
