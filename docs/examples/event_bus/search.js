#!/usr/bin/env node
// The consumer `search`: work that takes longer than a lease, and is too long for an open transaction.
//
// Run:   node search.js [SECONDS]    that each document takes (6). Start as many as you like.
// Needs: pg (npm install pg; Debian: node-pg); setup.sql. PGHOST, PGDATABASE and so on say where the server is.
'use strict';

const { setTimeout: sleep } = require('node:timers/promises');
const { Pool } = require('pg');

const LEASE = 5; // seconds; as long as a crash of this program is noticed by nobody
const seconds = Number(process.argv[2] ?? 6);
const pool = new Pool({ max: 10 });
pool.on('error', (error) => console.error(`search: an idle connection was lost: ${error.message}`));
let stop = false;

async function makeDocument({ message, headers }) {
  await sleep(seconds * 1000); // the slow part: another service, a model, a large file
  return `order ${message.order}: ${headers.topic}`;
}

async function index(m) {
  // The heartbeat: "I am still at it." Its receipt makes it ours: when somebody else has the message by now, because
  // we were suspended for longer than the lease, it changes nothing.
  const heartbeat = setInterval(() => {
    pool.query('SELECT vt FROM queue.set_vt($1, $2, $3, $4)', ['search', m.msg_id, LEASE, m.receipt])
      .catch((error) => console.error(`search: heartbeat: ${error.message}`)); // the next one may get through
  }, LEASE * 1000 / 3);
  let document;
  try {
    document = await makeDocument(m);
  } finally {
    clearInterval(heartbeat);
  }

  // The result and the message's end, together. The delete comes first, and decides: false means that the lease was
  // lost. Then this is somebody else's work.
  const client = await pool.connect();
  try {
    await client.query('BEGIN');
    const { rows: [{ ours }] } =
      await client.query('SELECT queue.delete($1, $2, $3) AS ours', ['search', m.msg_id, m.receipt]);
    if (ours) {
      await client.query('INSERT INTO bus.search_index VALUES ($1, $2, $3)',
        [m.message.order, m.headers.topic, document]);
    }
    await client.query('COMMIT');
    client.release();
  } catch (error) {
    client.release(error); // closes the connection, which rolls back
    throw error;
  }
}

async function main() {
  for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => { stop = true; });
  while (!stop) {
    const { rows } = await pool.query(
      'SELECT msg_id, receipt, message, headers FROM queue.read($1, vt => $2, qty => 50, wait => 2)',
      ['search', LEASE]);
    // One that fails doesn't take the others with it: its lease runs out, and it comes again.
    for (const { reason } of await Promise.allSettled(rows.map(index))) {
      if (reason) console.error(`search: ${reason.message}`);
    }
  }
  await pool.end();
}

main().catch((error) => {
  console.error(`search: ${error.message}`);
  process.exitCode = 1;
});
