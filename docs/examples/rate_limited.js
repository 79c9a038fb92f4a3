#!/usr/bin/env node
// An HTTP server whose endpoint is limited for each client.
//
// Shows: kv.rate_limit before the work, on whichever of many servers the request arrives; 429 with Retry-After for who
// asks too often; the RateLimit headers. A limit is charged at once and waits for nobody's transaction.
//
// Run:   node rate_limited.js                 then: curl -i http://127.0.0.1:8080/
//        node rate_limited.js --self-check    fires requests at itself, says what came back, and ends
// Needs: pg (npm install pg; Debian: node-pg). PGHOST, PGDATABASE and so on say where the server is. The role needs,
//        once, from the extension's owner: SELECT kv.grant('default', 'the_role', 'write');
'use strict';

const http = require('node:http');
const crypto = require('node:crypto');
const { Pool } = require('pg');

function createServer(pool, { maxRequests, period }) {
  // Who asks: the key that you gave out (checked somewhere before this), else the address. Behind a proxy of yours,
  // take the address that it adds; nobody else's X-Forwarded-For means anything.
  const clientOf = (req) => req.headers['x-api-key'] || req.socket.remoteAddress;

  return http.createServer(async (req, res) => {
    const answer = (status, body, headers = {}) => {
      res.writeHead(status, { 'Content-Type': 'application/json', ...headers });
      res.end(JSON.stringify(body) + '\n');
    };
    try {
      const { rows: [limit] } = await pool.query({
        name: 'limit', // prepared once for each connection
        text: 'SELECT allowed, remaining, retry_after, reset_after FROM kv.rate_limit($1, $2, $3)',
        // A key has at most 1,024 bytes; what a client sends may be longer.
        values: ['api:' + crypto.createHash('sha256').update(clientOf(req)).digest('hex'), maxRequests, period],
      });
      const headers = {
        'RateLimit-Limit': maxRequests,
        'RateLimit-Remaining': limit.remaining,
        'RateLimit-Reset': Math.ceil(limit.reset_after),
      };
      if (!limit.allowed) {
        headers['Retry-After'] = Math.max(1, Math.ceil(limit.retry_after));
        answer(429, { error: 'too many requests' }, headers);
        return;
      }
      answer(200, { hello: 'world' }, headers);
    } catch (error) {
      // No limit can be had, so nothing is served. Where serving matters more than the limit, serve here.
      console.error(`rate_limited: ${error.message}`);
      answer(503, { error: 'try again later' }, { 'Retry-After': 1 });
    }
  });
}

const listen = (server, port) => new Promise((resolve, reject) => {
  server.once('error', reject);
  server.listen(port, '127.0.0.1', () => resolve(`http://127.0.0.1:${server.address().port}/`));
});

const close = (server) => new Promise((resolve) => {
  server.close(resolve);
  server.closeAllConnections();
});

async function selfCheck(pool) {
  const run = crypto.randomUUID(); // clients that nobody has seen before
  const ask = async (url, client) => {
    const response = await fetch(url, { headers: { 'X-Api-Key': `${client}-${run}` } });
    await response.text();
    return response;
  };
  let good = true;
  const check = (what, ok) => {
    console.log(`${ok ? 'ok    ' : 'FAILED'} ${what}`);
    good = good && ok;
  };

  const slow = createServer(pool, { maxRequests: 10, period: 3600 });
  const quick = createServer(pool, { maxRequests: 1, period: 1 });
  try {
    const url = await listen(slow, 0);
    const burst = await Promise.all(Array.from({ length: 25 }, () => ask(url, 'ada')));
    const allowed = burst.filter((r) => r.status === 200);
    const denied = burst.filter((r) => r.status === 429);
    check(`of 25 requests at a time ${allowed.length} were served`, allowed.length === 10);
    check(`and ${denied.length} were told to come back later`, denied.length === 15);
    check('Retry-After is what it takes until the next one', denied.every((r) => {
      const seconds = Number(r.headers.get('Retry-After'));
      return seconds > 300 && seconds <= 360;
    }));
    check('nothing remained', allowed.some((r) => r.headers.get('RateLimit-Remaining') === '0'));
    check('another client is served', (await ask(url, 'bob')).status === 200);

    const quickUrl = await listen(quick, 0);
    const deadline = Date.now() + 30000;
    let response;
    do response = await ask(quickUrl, 'eve'); while (response.status === 200 && Date.now() < deadline);
    check('too fast: 429', response.status === 429);
    while (response.status === 429 && Date.now() < deadline) {
      await new Promise((resolve) => setTimeout(resolve, Number(response.headers.get('Retry-After')) * 1000));
      response = await ask(quickUrl, 'eve');
    }
    check('after Retry-After: served again', response.status === 200);
  } finally {
    await Promise.all([close(slow), close(quick)]);
  }
  return good;
}

async function main() {
  const pool = new Pool({ max: 10, connectionTimeoutMillis: 5000 });
  pool.on('error', (error) => console.error(`rate_limited: an idle connection was lost: ${error.message}`));

  if (process.argv.includes('--self-check')) {
    try {
      process.exitCode = (await selfCheck(pool)) ? 0 : 1;
    } finally {
      await pool.end();
    }
    return;
  }
  const server = createServer(pool, { maxRequests: 10, period: 60 });
  console.log(`listening on ${await listen(server, Number(process.env.PORT || 8080))}`);
  for (const signal of ['SIGINT', 'SIGTERM']) {
    process.once(signal, async () => {
      await close(server);
      await pool.end();
    });
  }
}

main().catch((error) => {
  console.error(`rate_limited: ${error.message}`);
  process.exitCode = 1;
});
