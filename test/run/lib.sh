# Sourced by the scripts here. Where things are, who runs the server, a private installation, how results are counted.
#
# Nothing outside of the checkout's build folder and one scratch directory is written. The server under test is a
# private copy of the installed one, with this tree's library in it: what `make install` has put on the machine is
# neither used nor changed, and two checkouts can be tested at the same time.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
cd "$root"

if [ -n "${PG_VERSION:-}" ]; then
    PG_CONFIG=${PG_CONFIG:-/usr/lib/postgresql/$PG_VERSION/bin/pg_config}
fi
# Its whole path, since the private installation's programs come first in PATH later.
PG_CONFIG=${PG_CONFIG:-pg_config}
PG_CONFIG=$(command -v "$PG_CONFIG" || echo "$PG_CONFIG")
export PG_CONFIG
MAKE=${MAKE:-make}

# A server that the caller's environment points to is not ours.
unset PGHOST PGHOSTADDR PGPORT PGUSER PGPASSWORD PGDATABASE PGDATA PGSERVICE PGSERVICEFILE PGOPTIONS PGSSLMODE
unset PGTZ PGDATESTYLE PGCLIENTENCODING PGAPPNAME PGPASSFILE
# Nor are the outer make's job slots: a server would keep its pipe open.
unset MAKEFLAGS MFLAGS MAKELEVEL
export LC_ALL=C.UTF-8

die() {
    echo "$*" >&2
    exit 1
}

config() {
    "$PG_CONFIG" "--$1" || die "no '$PG_CONFIG': run 'make deps', or set PG_VERSION or PG_CONFIG"
}

# The server refuses to run as root, so everything around it runs as somebody else then.
server_user=
if [ "$(id -u)" = 0 ]; then
    server_user=${PGQUEUE_USER:-postgres}
    id "$server_user" >/dev/null || die "no user '$server_user' to run the server as: set PGQUEUE_USER"
fi
as_server() {
    if [ -n "$server_user" ]; then
        runuser -u "$server_user" -- "$@"
    else
        "$@"
    fi
}

# A directory for the server's user, below a path short enough for a socket's name (107 characters in all).
scratch_dir() { # NAME
    local dir base
    for base in "${TMPDIR:-/tmp}" /tmp; do
        [ ${#base} -le 50 ] || continue
        dir=$(mktemp -d "$base/pgqueue-$1-XXXXXX") || continue
        [ -z "$server_user" ] || chown "$server_user" "$dir"
        if as_server test -w "$dir"; then
            echo "$dir"
            return
        fi
        rmdir "$dir"
    done
    die "no temporary directory that ${server_user:-the current user} can write to"
}

# The sources as an archive on stdout: what git knows or would add, as it is now; without git all but what was built.
tree() {
    if git rev-parse --is-inside-work-tree >/dev/null 2>&1; then
        git ls-files -z --cached --others --exclude-standard | while IFS= read -r -d '' file; do
            [ ! -e "$file" ] || printf '%s\0' "$file"
        done | tar -cf - --null -T -
    else
        tar -cf - --exclude=./build --exclude=./.git --exclude='*.o' --exclude='*.d' --exclude='*.so' .
    fi
}

# The private installation: DESTDIR of an install, filled up with copies of the programs, which find everything else
# relative to where they are, and links to the rest.
install_into() { # DIR
    local bin lib share entry
    bin=$(config bindir)
    lib=$(config pkglibdir)
    share=$(config sharedir)
    mkdir -p "$1$bin" "$1$lib" "$1$share/extension"
    cp -L "$bin"/* "$1$bin/"
    for entry in "$lib"/*; do
        [ "${entry##*/}" = pgqueue.so ] || ln -s "$entry" "$1$lib/"
    done
    for entry in "$share"/*; do
        [ "${entry##*/}" = extension ] || ln -s "$entry" "$1$share/"
    done
    # For those who ask the copied pg_config where to find them.
    for entry in "$(config includedir)" "$(config libdir)"; do
        [ -e "$1$entry" ] || { mkdir -p "$1${entry%/*}" && ln -s "$entry" "$1$entry"; }
    done
    for entry in "$share"/extension/*; do
        case ${entry##*/} in
        pgqueue.control | pgqueue--*) ;;
        *) ln -s "$entry" "$1$share/extension/" ;;
        esac
    done
    "$MAKE" -s -j "$(nproc)" all PG_CONFIG="$PG_CONFIG"
    "$MAKE" -s install PG_CONFIG="$PG_CONFIG" DESTDIR="$1" >/dev/null
    chmod -R go+rX "$1"
}

# Sets `bin`, the programs of the private installation: the caller's (PGQUEUE_INSTALL) or one below the given directory.
use_installation() { # DIR
    if [ -z "${PGQUEUE_INSTALL:-}" ]; then
        PGQUEUE_INSTALL=$1/install
        install_into "$PGQUEUE_INSTALL"
    fi
    bin=$PGQUEUE_INSTALL$(config bindir)
    export PATH="$bin:$PATH"
}

# A new server in DIR, reachable only through the socket in that directory. Extra settings come from stdin.
start_server() { # DIR PORT [INITDB OPTION...]
    local dir=$1 port=$2
    shift 2
    as_server "$bin/initdb" -D "$dir/data" -U postgres -A trust -E UTF8 --locale=C.UTF-8 "$@" >"$dir/initdb.log" 2>&1 ||
        { cat "$dir/initdb.log" >&2 && die "initdb failed"; }
    {
        echo "listen_addresses = ''"
        echo "unix_socket_directories = '$dir'"
        echo "port = $port"
        echo "shared_preload_libraries = 'pgqueue'"
        cat
    } >>"$dir/data/postgresql.conf"
    as_server "$bin/pg_ctl" -D "$dir/data" -l "$dir/server.log" -w -t 120 start </dev/null >"$dir/pg_ctl.log" 2>&1 ||
        { cat "$dir/pg_ctl.log" "$dir/server.log" >&2 || true && die "the server did not start"; }
}

stop_server() { # DATA-DIRECTORY [MODE]
    [ -f "$1/postmaster.pid" ] || return 0
    as_server "$bin/pg_ctl" -D "$1" -w -t 60 -m "${2:-fast}" stop >/dev/null 2>&1 ||
        as_server "$bin/pg_ctl" -D "$1" -w -t 60 -m immediate stop >/dev/null 2>&1 || true
}

# One part of the tests: a script that calls `part NAME` first and `tally` last.
#   out    build/test/NAME, where its output stays
#   work   its scratch directory, of the server's user, removed at the end
#   small_disk   what the part has mounted, to be unmounted at the end
small_disk=
part() { # NAME
    part=$1
    out=$root/build/test/$part
    rm -rf "$out"
    mkdir -p "$out"
    work=$(scratch_dir "$part")
    trap end_part EXIT
}

end_part() {
    local pid_file log
    while read -r pid_file; do
        stop_server "$(dirname "$pid_file")" immediate
    done < <(find "$work" -name postmaster.pid 2>/dev/null)
    [ -z "$small_disk" ] || umount "$small_disk" 2>/dev/null || umount -l "$small_disk" || true
    for log in "$work"/out "$work"/server/*.log; do
        [ ! -e "$log" ] || cp -R "$log" "$out/"
    done
    rm -rf "$work"
}

# Files of the checkout, as the server's user may read and write them.
copy_tree() { # DIR PATH...
    local dir=$1 path
    shift
    mkdir -p "$dir"
    for path in "$@"; do
        [ ! -e "$path" ] || tar -cf - "$path" | tar -xf - -C "$dir" --no-same-owner
    done
    [ -z "$server_user" ] || chown -R "$server_user" "$dir"
}

# A server that fell over is a failure, whatever the tests made of it.
crashes_in() { # LOG
    grep -nE 'PANIC:|TRAP:|was terminated by signal|runtime error:' "$1"
}

# The number of lines that match.
count() { # PATTERN FILE [GREP OPTION...]
    grep -cE "${@:3}" -e "$1" "$2" || true
}

tally() { # PASSED FAILED [SKIPPED]
    local skipped=
    [ "${3:-0}" = 0 ] || skipped=", $3 skipped"
    echo "$1 $2 ${3:-0}" >"$out/result"
    echo "== $part: $1 passed, $2 failed$skipped"
    [ "$2" = 0 ]
}

# A part may not hang for ever. Its own time limit, in seconds, can be raised for slow machines.
limit() {
    as_server timeout -k 10 "${PGQUEUE_PART_TIMEOUT:-1200}" "$@"
}
