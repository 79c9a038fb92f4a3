#!/usr/bin/env ruby
# A worker: reads in batches, keeps its leases while it works, and ends a message together with what was done for it.
#
# Run:   ruby worker.rb [QUEUE [LEASE]]     jobs, 30 seconds. Start as many as you like; SIGTERM stops one.
# Needs: pg (gem install pg; Debian: ruby-pg); setup.sql. PGHOST, PGDATABASE and so on say where the server is.
require 'json'
require 'pg'

QUEUE = ARGV[0] || 'jobs'
LEASE = Float(ARGV[1] || 30)
BATCH = 10
WAIT = 2 # seconds for which an idle worker may overlook SIGTERM

$stdout.sync = true
$stop = false

# The slow part, outside of any transaction. Yours goes here: this one sleeps, and fails as the message says.
def work(job, attempt)
  sleep job['seconds']
  raise "job #{job['id']}: attempt #{attempt} failed" if attempt <= job['failures']

  "attempt #{attempt}"
end

class Database
  # The connection's end, conflicts, resources, shutdown: SQLSTATE 08, 40, 53, 57.
  TROUBLE = [PG::ConnectionBad, PG::UnableToSend, PG::ConnectionException, PG::TransactionRollback,
             PG::InsufficientResources, PG::OperatorIntervention].freeze

  # What the block answers. A lost connection is made anew, and the block run again: that is safe for all of them, since
  # the receipt lets none take effect twice.
  def run
    @conn ||= PG.connect
    yield @conn
  rescue *TROUBLE => e
    puts "connection: #{e.message.lines.first.chomp}"
    exit 1 if $stop # what is in hand comes back when its lease runs out
    @conn&.close
    @conn = nil
    sleep 0.5
    retry
  end
end

def read(conn)
  # Values are strings here. So they can stay: msg_id and receipt only go back to where they came from.
  conn.exec_params('SELECT * FROM queue.read($1, vt => $2, qty => $3)', [QUEUE, LEASE, BATCH]).to_a
end

def wait(conn)
  conn.exec_params('CALL queue.wait($1, $2)', [QUEUE, WAIT])
end

# Moves the end of all leases in hand, and lets go of those that somebody else has by now.
def renew(conn, hand, seconds)
  array = PG::TextEncoder::Array.new
  kept = conn.exec_params('SELECT msg_id FROM queue.set_vt_batch($1, $2, $3, $4)',
                          [QUEUE, array.encode(hand.keys), seconds, array.encode(hand.values)]).column_values(0)
  (hand.keys - kept).each do |id|
    puts "lost the lease of #{id}"
    hand.delete(id)
  end
end

# The ack and the result, both or neither. False: the lease was lost, and so the work was somebody else's.
def finish(conn, message, job, result)
  conn.transaction do
    ours = conn.exec_params('SELECT queue.delete($1, $2, $3)', [QUEUE, *message.values_at('msg_id', 'receipt')])
    next false if ours.getvalue(0, 0) == 'f'

    conn.exec_params('INSERT INTO results VALUES ($1, $2, $3)', [QUEUE, job['id'], result])
    true
  end
end

def give_up(conn, message, error)
  conn.exec_params('SELECT queue.nack($1, $2, $3, error => $4)',
                   [QUEUE, *message.values_at('msg_id', 'receipt'), error.message])
end

def handle(database, message, hand)
  job = JSON.parse(message['message'])
  thread = Thread.new { work(job, message['read_ct'].to_i) }
  thread.report_on_exception = false
  database.run { |conn| renew(conn, hand, LEASE) } until thread_ended(thread)
  done = database.run { |conn| finish(conn, message, job, thread.value) }
  puts "#{done ? 'done' : 'too late, the lease was lost:'} #{message['msg_id']}"
rescue StandardError => e # of the work or of its INSERT: the message's fault, not ours
  puts "failed: #{e.message}"
  database.run { |conn| give_up(conn, message, e) }
end

# False if it is still at work when the next heartbeat is due.
def thread_ended(thread)
  thread.join(LEASE / 3)
rescue StandardError
  true # its error is raised again by `value`
end

%w[INT TERM].each { |signal| trap(signal) { $stop = true } }
database = Database.new
until $stop
  batch = database.run { |conn| read(conn) }
  database.run { |conn| wait(conn) } if batch.empty?
  hand = batch.to_h { |message| message.values_at('msg_id', 'receipt') }
  batch.each do |message|
    next if $stop || !hand.key?(message['msg_id'])

    handle(database, message, hand)
    hand.delete(message['msg_id'])
  end
  unless hand.empty?
    database.run { |conn| renew(conn, hand, 0) } # to stop is to give the rest back, at once
    puts "gave back #{hand.size}"
  end
end
