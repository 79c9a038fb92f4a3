// A worker: reads in batches, keeps its leases while it works, and ends a message together with what was done for it.
//
// Run: go run worker.go [QUEUE [LEASE]], by default jobs, 30 seconds. Start as many as you like; SIGTERM stops one.
//
// Needs: github.com/lib/pq (Debian: golang-github-lib-pq-dev, GO111MODULE=off, GOPATH=/usr/share/gocode); setup.sql.
// PGHOST, PGDATABASE and so on say where the server is; over TCP without TLS PGSSLMODE=disable, too.
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

type message struct {
	id, receipt int64
	attempt     int
	body        []byte
}

type outcome struct {
	job    int64
	result string
	err    error
}

var (
	queue   = "jobs"
	lease   = 30.0 // seconds
	batch   = 10
	wait    = 2 // seconds for which an idle worker may overlook SIGTERM
	db      *sql.DB
	stop, _ = signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
)

// The slow part, outside of any transaction. Yours goes here: this one sleeps, and fails as the message says.
func work(m message) outcome {
	var job struct {
		ID       int64
		Seconds  float64
		Failures int
	}
	if err := json.Unmarshal(m.body, &job); err != nil {
		return outcome{err: err}
	}
	time.Sleep(time.Duration(job.Seconds * float64(time.Second)))
	if m.attempt <= job.Failures {
		return outcome{err: fmt.Errorf("job %d: attempt %d failed", job.ID, m.attempt)}
	}
	return outcome{job: job.ID, result: fmt.Sprint("attempt ", m.attempt)}
}

// Where the connection is lost, the action is done again with another one: that is safe for all of them, since the
// receipt lets none take effect twice. Other errors are the caller's.
func run(action func() error) error {
	for {
		err := action()
		var server *pq.Error
		if err == nil {
			return nil
		}
		if errors.As(err, &server) {
			switch server.Code.Class() {
			case "08", "40", "53", "57": // the connection, conflicts, resources, shutdown
			default:
				return err
			}
		}
		fmt.Println("connection:", err)
		if stop.Err() != nil {
			os.Exit(1) // what is in hand comes back when its lease runs out
		}
		time.Sleep(time.Second / 2)
	}
}

func read() (hand []message, err error) {
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
		hand = append(hand, m)
	}
	return hand, rows.Err()
}

// Moves the end of all leases in hand. One that is lost by now stays in hand: its ack will tell.
func renew(hand []message, seconds float64) error {
	var ids, receipts pq.Int64Array
	for _, m := range hand {
		ids, receipts = append(ids, m.id), append(receipts, m.receipt)
	}
	_, err := db.Exec("SELECT FROM queue.set_vt_batch($1, $2, $3, $4)", queue, ids, seconds, receipts)
	return err
}

// The ack and the result, both or neither. False: the lease was lost, and so the work was somebody else's.
func finish(m message, o outcome) (ours bool, err error) {
	tx, err := db.Begin()
	if err != nil {
		return false, err
	}
	defer tx.Rollback() // does nothing after a commit
	err = tx.QueryRow("SELECT queue.delete($1, $2, $3)", queue, m.id, m.receipt).Scan(&ours)
	if err != nil || !ours {
		return false, err
	}
	if _, err := tx.Exec("INSERT INTO results VALUES ($1, $2, $3)", queue, o.job, o.result); err != nil {
		return false, err
	}
	return true, tx.Commit()
}

func giveUp(m message, reason error) error {
	_, err := db.Exec("SELECT queue.nack($1, $2, $3, error => $4)", queue, m.id, m.receipt, reason.Error())
	return err
}

// The first of those in hand.
func handle(hand []message) error {
	m := hand[0]
	ended := make(chan outcome, 1)
	go func() { ended <- work(m) }()
	heartbeat := time.NewTicker(time.Duration(lease / 3 * float64(time.Second)))
	defer heartbeat.Stop()
	for {
		select {
		case <-heartbeat.C:
			if err := run(func() error { return renew(hand, lease) }); err != nil {
				return err
			}
		case o := <-ended:
			ours := false
			if o.err == nil {
				o.err = run(func() (err error) { ours, err = finish(m, o); return })
			}
			if o.err != nil { // of the work or of its INSERT: the message's fault, not ours
				fmt.Println("failed:", o.err)
				return run(func() error { return giveUp(m, o.err) })
			}
			if ours {
				fmt.Println("done", m.id)
			} else {
				fmt.Println("too late, the lease was lost:", m.id)
			}
			return nil
		}
	}
}

func loop() error {
	for stop.Err() == nil {
		var hand []message
		err := run(func() (err error) { hand, err = read(); return })
		if err == nil && len(hand) == 0 {
			err = run(func() error {
				_, err := db.Exec("CALL queue.wait($1, $2)", queue, wait)
				return err
			})
		}
		for ; err == nil && len(hand) > 0 && stop.Err() == nil; hand = hand[1:] {
			err = handle(hand)
		}
		if err != nil {
			return err
		}
		if len(hand) > 0 { // to stop is to give the rest back, at once
			fmt.Println("gives back", len(hand))
			return run(func() error { return renew(hand, 0) })
		}
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
	// Statement and parameters in one round trip: between two, PgBouncer may change the server's connection.
	var err error
	if db, err = sql.Open("postgres", "binary_parameters=yes"); err == nil {
		err = loop()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "worker:", err)
		os.Exit(1)
	}
}
