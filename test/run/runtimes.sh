# Sourced by deps, examples and differential: which Python has psycopg 3 or croniter, which Node.js has pg or the cron
# libraries.

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
