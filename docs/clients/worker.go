// A worker: reads in batches, keeps its leases while it works, and ends a message together with what it has done for it.
//
// Run:   go run worker.go [QUEUE [LEASE]]     jobs, 30 seconds. Start as many as you like; SIGTERM stops one.
// Needs: lib/pq (go get github.com/lib/pq; Debian: golang-github-lib-pq-dev, and then GO111MODULE=off
//
//	GOPATH=/usr/share/gocode); setup.sql. PGHOST, PGDATABASE and so on say where the server is.
package main

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"

	"github.com/lib/pq"
)

const batch = 10

var (
	queue = "jobs"
	lease = 30.0 // seconds
	db    *sql.DB
)

type job struct {
	ID       int64
	Seconds  float64
	Failures int
}

type message struct {
	id, receipt int64
	attempt     int
	body        []byte
}

// The slow part, outside of any transaction. Yours goes here: this one sleeps, and fails as the message says.
func work(body []byte, attempt int) (job, string, error) {
	var j job
	if err := json.Unmarshal(body, &j); err != nil {
		return j, "", err
	}
	time.Sleep(time.Duration(j.Seconds * float64(time.Second)))
	if attempt <= j.Failures {
		return j, "", fmt.Errorf("job %d: attempt %d failed", j.ID, attempt)
	}
	return j, fmt.Sprintf("attempt %d", attempt), nil
}

// Where the connection is lost, the action is done again with another one: that is safe for all of them, since the
// receipt lets none take effect twice. Other errors are the caller's.
func run(stop context.Context, action func() error) error {
	for {
		err := action()
		if err == nil || stop.Err() != nil && errors.Is(err, context.Canceled) {
			return nil
		}
		var server *pq.Error
		if errors.As(err, &server) {
			switch server.Code.Class() {
			case "08", "40", "53", "57": // connection, conflicts, resources, shutdown
			default:
				return err
			}
		}
		fmt.Println("connection:", err)
		if stop.Err() != nil {
			os.Exit(1) // what is in hand comes back when its lease runs out
		}
		time.Sleep(500 * time.Millisecond)
	}
}

func read() (got []message, err error) {
	rows, err := db.Query("SELECT msg_id, receipt, read_ct, message FROM queue.read($1, vt => $2, qty => $3)",
		queue, lease, batch)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var m message
		if err := rows.Scan(&m.id, &m.receipt, &m.attempt, &m.body); err != nil {
			return nil, err
		}
		got = append(got, m)
	}
	return got, rows.Err()
}

// Moves the end of all leases in hand. The answer holds those that are still ours.
func renew(hand []message, seconds float64) error {
	ids, receipts := make([]int64, len(hand)), make([]int64, len(hand))
	for i, m := range hand {
		ids[i], receipts[i] = m.id, m.receipt
	}
	_, err := db.Exec("SELECT msg_id FROM queue.set_vt_batch($1, $2, $3, $4)",
		queue, pq.Array(ids), seconds, pq.Array(receipts))
	return err
}

// The ack and the result, both or neither. False: the lease was lost, and so the work was somebody else's.
func finish(m message, j job, result string) (ours bool, err error) {
	tx, err := db.Begin()
	if err != nil {
		return false, err
	}
	defer tx.Rollback() // after a commit it does nothing
	if err := tx.QueryRow("SELECT queue.delete($1, $2, $3)", queue, m.id, m.receipt).Scan(&ours); err != nil || !ours {
		return false, err
	}
	if _, err := tx.Exec("INSERT INTO results VALUES ($1, $2, $3)", queue, j.ID, result); err != nil {
		return false, err
	}
	return true, tx.Commit()
}

func handle(stop context.Context, hand []message) error {
	m := hand[0]
	var j job
	var result string
	ended := make(chan error, 1)
	go func() {
		var err error
		j, result, err = work(m.body, m.attempt)
		ended <- err
	}()
	heartbeat := time.NewTicker(time.Duration(lease / 3 * float64(time.Second)))
	defer heartbeat.Stop()
	var err error
working:
	for {
		select {
		case err = <-ended:
			break working
		case <-heartbeat.C:
			if err := renew(hand, lease); err != nil {
				fmt.Println("heartbeat:", err) // the next one may get through
			}
		}
	}
	var ours bool
	if err == nil {
		err = run(stop, func() (err error) { ours, err = finish(m, j, result); return })
	}
	switch {
	case err != nil: // of the work or of its INSERT: the message's fault, not ours
		fmt.Println("failed:", err)
		return run(stop, func() error {
			_, failure := db.Exec("SELECT queue.nack($1, $2, $3, error => $4)", queue, m.id, m.receipt, err.Error())
			return failure
		})
	case ours:
		fmt.Println("done", m.id)
	default:
		fmt.Println("too late, the lease was lost:", m.id)
	}
	return nil
}

func main() {
	if len(os.Args) > 1 {
		queue = os.Args[1]
	}
	if len(os.Args) > 2 {
		lease, _ = strconv.ParseFloat(os.Args[2], 64)
	}
	fail := func(err error) {
		if err != nil {
			fmt.Fprintln(os.Stderr, "worker:", err)
			os.Exit(1)
		}
	}
	stop, cancel := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer cancel()
	var err error
	// In one round trip with its parameters, a statement needs no second one that PgBouncer might take elsewhere.
	db, err = sql.Open("postgres", "binary_parameters=yes")
	fail(err)
	for stop.Err() == nil {
		var hand []message
		fail(run(stop, func() (err error) { hand, err = read(); return }))
		if len(hand) == 0 {
			fail(run(stop, func() error { // SIGTERM cancels it
				_, err := db.ExecContext(stop, "CALL queue.wait($1, 20)", queue)
				return err
			}))
		}
		for ; len(hand) > 0 && stop.Err() == nil; hand = hand[1:] {
			fail(handle(stop, hand))
		}
		if len(hand) > 0 {
			fail(run(stop, func() error { return renew(hand, 0) })) // to stop is to give the rest back, at once
			fmt.Println("gave back", len(hand))
		}
	}
}
