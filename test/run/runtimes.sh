# Sourced by deps, examples, clients and differential: which Python has psycopg 3 or croniter, which Node.js has pg or the
# cron libraries, whether Ruby, Java and Go have Debian's drivers.

# The first one of them; Debian's own Python has Debian's packages, whatever comes first in PATH.
python_with_psycopg() { # [PREFIX...]: commands that run it
    local python
    for python in python3 /usr/bin/python3; do
        if "$@" "$python" -c 'import psycopg; psycopg.connect' >/dev/null 2>&1; then
            echo "$python"
            return
        fi
    done
    return 1
}

python_with_croniter() {
    local python
    for python in python3 /usr/bin/python3; do
        if "$python" -c 'import croniter, dateutil.tz, zoneinfo; zoneinfo.ZoneInfo("Europe/Berlin")' >/dev/null 2>&1; then
            echo "$python"
            return
        fi
    done
    return 1
}

# Debian's pg, or the one that deps got with npm.
node_path() { # DIRECTORY-OF-BUILD
    echo "$1/node/node_modules:/usr/share/nodejs"
}
node_with_pg() { # DIRECTORY-OF-BUILD [PREFIX...]
    local test='require("pg").Pool; process.exit(parseInt(process.versions.node) < 18 ? 1 : 0)'
    NODE_PATH=$(node_path "$1") "${@:2}" node -e "$test" >/dev/null 2>&1
}
node_with_crons() { # DIRECTORY-OF-BUILD LIBRARY...
    NODE_PATH=$(node_path "$1") node -e 'process.argv.slice(1).forEach(require)' "${@:2}" >/dev/null 2>&1
}

ruby_with_pg() { # [PREFIX...]
    "$@" ruby -e 'require "pg"' >/dev/null 2>&1
}
jdbc_driver=/usr/share/java/postgresql.jar
java_with_jdbc() {
    command -v javac >/dev/null && [ -e "$jdbc_driver" ]
}
# Debian's packages of Go are in one tree, without modules.
go_with_debian() { # COMMAND...: as of `go`
    GO111MODULE=off GOPATH=/usr/share/gocode GOFLAGS='' go "$@"
}
go_with_pq() {
    go_with_debian list github.com/lib/pq >/dev/null 2>&1
}
pgbouncer_program() {
    PATH=$PATH:/usr/sbin command -v pgbouncer
}
