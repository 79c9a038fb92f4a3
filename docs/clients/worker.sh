#!/bin/bash
# A worker: reads in batches, keeps its leases while it works, and ends a message together with what was done for it.
# Each statement is a psql, and so a connection, of its own: for work that is seldom, or heavy.
#
# Run:   bash worker.sh [QUEUE [LEASE]]     jobs, 30 seconds. Start as many as you like; SIGTERM stops one.
# Needs: psql; setup.sql. PGHOST, PGDATABASE and so on say where the server is.
set -o pipefail

queue=${1:-jobs} lease=${2:-30}
pause=$(awk "BEGIN { print $lease / 3 }") # between two heartbeats
batch=10
wait=2 # seconds for which an idle worker may overlook SIGTERM

stop=
trap stop=1 TERM # runs when the command in the foreground has ended

# The slow part, outside of any transaction. Yours goes here: this one sleeps, and fails as the message says.
work() { # ID SECONDS FAILURES ATTEMPT: prints the result or, failing, the error
    sleep "$2" || return
    if [ "$4" -le "$3" ]; then
        echo "job $1: attempt $4 failed"
        return 1
    fi
    echo "attempt $4"
}

# Runs the SQL on stdin, with variables; values go in as variables only, never as text into the statement. Where the
# connection is lost (psql's exit status 2) it does all again: that is safe, since the receipt lets nothing take effect
# twice.
sql() { # [NAME=VALUE...]
    local options=(-v "queue=$queue" -v "lease=$lease") statements status variable
    for variable; do options+=(-v "$variable"); done
    statements=$(cat)
    while true; do
        psql -XAtq -F $'\t' -v ON_ERROR_STOP=1 "${options[@]}" <<<"$statements"
        status=$?
        [ "$status" = 2 ] || return "$status"
        [ -z "$stop" ] || exit 1 # what is in hand comes back when its lease runs out
        sleep 0.5
    done
}

list() { local IFS=,; echo "{$*}"; }

# Moves the end of all leases in hand; prints those that are still ours.
renew() { # SECONDS IDS RECEIPTS
    sql "seconds=$1" "ids=$2" "receipts=$3" \
        <<<"SELECT msg_id FROM queue.set_vt_batch(:'queue', :'ids', :seconds, :'receipts');"
}

# The ack and the result, both or neither. If the lease was lost, the work was somebody else's.
finish() { # MSG-ID RECEIPT JOB RESULT
    sql "id=$1" "receipt=$2" "job=$3" "result=$4" <<'SQL'
BEGIN;
SELECT queue.delete(:'queue', :id, :receipt) AS ours \gset
\if :ours
    INSERT INTO results VALUES (:'queue', :job, :'result');
    COMMIT;
    \echo done :id
\else
    ROLLBACK;
    \echo too late, the lease was lost: :id
\endif
SQL
}

give_up() { # MSG-ID RECEIPT ERROR
    echo "failed: $3"
    sql "id=$1" "receipt=$2" "error=$3" \
        <<<"SELECT FROM queue.nack(:'queue', :id, :receipt, error => :'error');"
}

# Until it is told to stop (in its sleep, not in the middle of a renewal) or the worker has been killed.
beat() { # IDS RECEIPTS
    trap 'kill "$!" 2>/dev/null; exit' TERM
    while sleep "$pause" & wait "$!" && kill -0 "$$"; do renew "$lease" "$1" "$2" >/dev/null; done
}

handle() { # MSG-ID RECEIPT ATTEMPT JOB SECONDS FAILURES
    local result
    if result=$(work "$4" "$5" "$6" "$3" 2>&1) && result=$(finish "$1" "$2" "$4" "$result" 2>&1); then
        echo "$result"
    else
        give_up "$1" "$2" "$result"
    fi
}

while [ -z "$stop" ]; do
    # A line for each message, with what the work needs of it. As JSON, text has neither line feeds nor tabs.
    rows=$(sql "batch=$batch" <<<"
        SELECT msg_id, receipt, read_ct, message -> 'id', message -> 'seconds', message -> 'failures'
        FROM queue.read(:'queue', vt => :lease, qty => :batch)") || exit
    if [ -z "$rows" ]; then
        sql "wait=$wait" <<<"CALL queue.wait(:'queue', :wait)" || exit
        continue
    fi
    mapfile -t messages <<<"$rows"

    ids=() receipts=()
    for message in "${messages[@]}"; do
        read -r id receipt _ <<<"$message"
        ids+=("$id") receipts+=("$receipt")
    done
    for message in "${messages[@]}"; do
        [ -z "$stop" ] || break
        beat "$(list "${ids[@]}")" "$(list "${receipts[@]}")" &
        heartbeat=$!
        IFS=$'\t' read -r -a fields <<<"$message"
        handle "${fields[@]}"
        kill "$heartbeat"
        wait "$heartbeat"
        ids=("${ids[@]:1}") receipts=("${receipts[@]:1}")
    done
    if [ ${#ids[@]} -gt 0 ]; then
        renew 0 "$(list "${ids[@]}")" "$(list "${receipts[@]}")" >/dev/null # to stop is to give the rest back, at once
        echo "gave back ${#ids[@]}"
    fi
done
