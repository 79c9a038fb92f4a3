# Sourced by regress and isolation: runs the tests in `names` with one of the server's two drivers, and counts.

run_pg_regress() { # DRIVER DIR
    local driver dir=$2 server=$work/server passed=0 failed=0 name
    driver=$(dirname "$(config pgxs)")/../test/$1
    [ -x "$driver" ] || die "$driver is missing: it comes with the server's development files"

    as_server mkdir "$server"
    start_server "$server" 5432 --no-sync <<-SETTINGS
	fsync = off
	max_connections = 60
	max_prepared_transactions = 10
	max_worker_processes = 16
	wal_level = logical
	log_line_prefix = '%m [%p] %q%a '
	SETTINGS

    cd "$dir"
    limit "$driver" --bindir="$bin" --inputdir="$dir" --outputdir="$dir" --host="$server" --port=5432 --user=postgres \
        --dbname=contrib_regression "${names[@]}" >"$work/driver.log" 2>&1 </dev/null || true
    cat "$work/driver.log"
    mv "$work/driver.log" "$dir/"
    cd "$root"

    # 'test NAME ... ok' up to 15, 'ok 1 - NAME' from 16 on. What has no such line has not passed.
    for name in "${names[@]}"; do
        if grep -qE "^(test | +)$name +\.\.\. ok|^ok +[0-9]+ +[-+] $name " "$dir/driver.log"; then
            passed=$((passed + 1))
        else
            failed=$((failed + 1))
        fi
    done
    [ ! -f "$dir/regression.diffs" ] || cat "$dir/regression.diffs"
    if crashes_in "$server/server.log"; then
        echo "the server's log tells of a crash: $out/server.log"
        failed=$((failed + 1))
    fi
    tally "$passed" "$failed"
}
