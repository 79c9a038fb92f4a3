# Sourced after lib.sh by the scripts that work in Debian roots, below PGQUEUE_ROOTS. `out`, for logs, is the caller's.
#
# The mounts and the processes live in namespaces that end with the run, so that nothing stays mounted or running.
. "$(dirname "${BASH_SOURCE[0]}")/root.sh"
roots=${PGQUEUE_ROOTS:-/var/cache/pgqueue-roots}
mirror=${PGQUEUE_MIRROR:-http://deb.debian.org/debian}

cannot() {
    echo "${0##*/}: $*" >&2
    exit 77
}

can_have_roots() {
    [ "$(id -u)" = 0 ] || command -v sudo >/dev/null || cannot "making roots needs root"
    command -v debootstrap >/dev/null || cannot "debootstrap is missing: make deps"
    as_root unshare --mount --pid --fork true 2>/dev/null || cannot "no namespaces here to mount things in"
}

make_root() { # SUITE [NAME]
    local name=${2:-$1} script=/usr/share/debootstrap/scripts/$1
    local dir=$roots/$name
    if [ ! -x "$dir/usr/bin/apt-get" ] || [ -d "$dir/debootstrap" ]; then
        echo "making a root of $1 in $dir"
        [ -e "$script" ] || script=/usr/share/debootstrap/scripts/sid
        as_root mkdir -p "$roots"
        as_root rm -rf --one-file-system "$dir" "$dir.new"
        as_root debootstrap --variant=minbase "$1" "$dir.new" "$mirror" "$script" >"$out/$name-root.log" 2>&1 || {
            tail -n 5 "$out/$name-root.log" >&2
            as_root rm -rf --one-file-system "$dir.new"
            cannot "debootstrap of $1 failed: $out/$name-root.log"
        }
        as_root mv "$dir.new" "$dir"
    fi
    # A mirror may lag behind the dates of a suite that moves.
    echo 'Acquire::Check-Valid-Until "false"; Acquire::Retries "3";' |
        as_root tee "$dir/etc/apt/apt.conf.d/90pgqueue" >/dev/null
    [ ! -e /etc/resolv.conf ] || as_root cp -L --remove-destination /etc/resolv.conf "$dir/etc/resolv.conf"
}

in_root() { # NAME COMMAND...
    local dir=$roots/$1
    shift
    as_root flock "$dir" unshare --mount --pid --fork --kill-child bash -c '
        set -e
        mount -t proc proc "$0/proc"
        [ -c "$0/dev/null" ] || mount --rbind /dev "$0/dev"
        mkdir -p "$0/dev/shm"
        mount -t tmpfs -o mode=1777 tmpfs "$0/dev/shm"
        exec chroot "$0" /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8 \
            http_proxy="${http_proxy:-}" https_proxy="${https_proxy:-}" PARTS="${PARTS:-}" TESTS="${TESTS:-}" \
            DEBIAN_FRONTEND=noninteractive "$@"
    ' "$dir" "$@" </dev/null
}
