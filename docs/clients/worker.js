#!/usr/bin/env node
// A worker: reads in batches, keeps its leases while it works, and ends a message together with what was done for it.
//
// Run:   node worker.js [QUEUE [LEASE]]     jobs, 30 seconds. Start as many as you like; SIGTERM stops one.
// Needs: pg (npm install pg; Debian: node-pg); setup.sql. PGHOST, PGDATABASE and so on say where the server is.
'use strict';

const { setTimeout: sleep } = require('node:timers/promises');
const { Pool } = require('pg');

const QUEUE = process.argv[2] ?? 'jobs';
const LEASE = Number(process.argv[3] ?? 30);
const BATCH = 10;
const WAIT = 2; // seconds for which an idle worker may overlook SIGTERM

const pool = new Pool({ max: 2 }); // one for the work, one for the heartbeat
pool.on('error', (error) => console.log(`an idle connection was lost: ${error.message}`));
let stop = false;

// The slow part, outside of any transaction. Yours goes here: this one sleeps, and fails as the message says.
async function work(job, attempt) {
  await sleep(job.seconds * 1000);
  if (attempt <= job.failures) throw new Error(`job ${job.id}: attempt ${attempt} failed`);
  return `attempt ${attempt}`;
}

// What action() answers. Where the connection is lost it is done again, with another one: that is safe for all of them,
// since the receipt lets none take effect twice.
async function run(action) {
  for (;;) {
    try {
      return await action();
    } catch (error) {
      // Without a severity it isn't the server's. The classes are the connection, conflicts, resources, shutdown.
      if (error.severity && !/^(08|40|53|57)/.test(error.code)) throw error;
      console.log(`connection: ${error.message}`);
      if (stop) process.exit(1); // what is in hand comes back when its lease runs out
      await sleep(500);
    }
  }
}

async function read() {
  // A bigint is a string here. It stays one: msg_id and receipt only go back to where they came from.
  const { rows } = await pool.query('SELECT * FROM queue.read($1, vt => $2, qty => $3)', [QUEUE, LEASE, BATCH]);
  return rows;
}

// Moves the end of all leases in hand, and lets go of those that somebody else has by now.
async function renew(hand, seconds) {
  const { rows } = await pool.query('SELECT msg_id FROM queue.set_vt_batch($1, $2, $3, $4)',
    [QUEUE, [...hand.keys()], seconds, [...hand.values()]]);
  const kept = new Set(rows.map((row) => row.msg_id));
  for (const id of hand.keys()) {
    if (!kept.has(id) && hand.delete(id)) console.log(`lost the lease of ${id}`);
  }
}

// The ack and the result, both or neither. False: the lease was lost, and so the work was somebody else's.
async function finish(m, result) {
  const client = await pool.connect();
  let broken;
  try {
    await client.query('BEGIN');
    const { rows: [{ ours }] } =
      await client.query('SELECT queue.delete($1, $2, $3) AS ours', [QUEUE, m.msg_id, m.receipt]);
    if (ours) await client.query('INSERT INTO results VALUES ($1, $2, $3)', [QUEUE, m.message.id, result]);
    await client.query(ours ? 'COMMIT' : 'ROLLBACK');
    return ours;
  } catch (error) {
    broken = error;
    throw error;
  } finally {
    client.release(broken); // with an error: closes the connection, which rolls back
  }
}

const giveUp = (m, error) => pool.query('SELECT queue.nack($1, $2, $3, error => $4)',
  [QUEUE, m.msg_id, m.receipt, error.message]);

// The work, with a heartbeat beside it.
async function workOn(m, hand) {
  let beat;
  const timer = setInterval(() => {
    beat = renew(hand, LEASE).catch((error) => console.log(`heartbeat: ${error.message}`)); // the next may get through
  }, LEASE * 1000 / 3);
  try {
    return await work(m.message, m.read_ct);
  } finally {
    clearInterval(timer);
    await beat;
  }
}

async function handle(m, hand) {
  try {
    const result = await workOn(m, hand);
    const done = await run(() => finish(m, result));
    console.log(done ? `done ${m.msg_id}` : `too late, the lease was lost: ${m.msg_id}`);
  } catch (error) { // of the work or of its INSERT: the message's fault, not ours
    console.log(`failed: ${error.message}`);
    await run(() => giveUp(m, error));
  }
}

async function main() {
  for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => { stop = true; });
  while (!stop) {
    const batch = await run(read);
    if (batch.length === 0) await run(() => pool.query('CALL queue.wait($1, $2)', [QUEUE, WAIT]));
    const hand = new Map(batch.map((m) => [m.msg_id, m.receipt]));
    for (const m of batch) {
      if (stop || !hand.has(m.msg_id)) continue;
      await handle(m, hand);
      hand.delete(m.msg_id);
    }
    if (hand.size > 0) {
      await run(() => renew(hand, 0)); // to stop is to give the rest back, at once
      console.log(`gave back ${hand.size}`);
    }
  }
  await pool.end();
}

main().catch((error) => {
  console.error(`worker: ${error.message}`);
  process.exitCode = 1;
});
