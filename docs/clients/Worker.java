// A worker: reads in batches, keeps its leases while it works, and ends a message together with what was done for it.
//
// Run:   java -cp /usr/share/java/postgresql.jar Worker.java [QUEUE [LEASE]]     jobs, 30 seconds. Start as many as you
//        like; SIGTERM stops one.
// Needs: Java 17, the JDBC driver (Debian: libpostgresql-jdbc-java); setup.sql. JDBC_URL says where the server is, as
//        jdbc:postgresql://localhost/shop?user=app does.

import java.sql.*;
import java.util.*;
import java.util.concurrent.*;

public class Worker {
    static final int BATCH = 10;
    static final int WAIT = 2; // seconds for which an idle worker may overlook SIGTERM

    static String queue = "jobs";
    static double lease = 30; // seconds
    static volatile boolean stop;

    // What the work needs of a message. There is no JSON in the JDK, so the server takes it apart.
    record Job(long msgId, long receipt, int attempt, long id, double seconds, int failures) {}

    interface Action<T> {
        T run(Connection connection) throws SQLException;
    }

    // The slow part, outside of any transaction. Yours goes here: this one sleeps, and fails as the message says.
    static String work(Job job) throws Exception {
        Thread.sleep((long) (job.seconds * 1000));
        if (job.attempt <= job.failures)
            throw new Exception("job " + job.id + ": attempt " + job.attempt + " failed");
        return "attempt " + job.attempt;
    }

    static Connection connection;

    // What the action answers. A lost connection is made anew, and the action done again: that is safe for all of them,
    // since the receipt lets none take effect twice.
    static <T> T run(Action<T> action) throws Exception {
        while (true) {
            try {
                if (connection == null)
                    connection = DriverManager.getConnection(
                        System.getenv().getOrDefault("JDBC_URL", "jdbc:postgresql://localhost/"));
                return action.run(connection);
            } catch (SQLException error) {
                // These classes are the connection, conflicts, resources and shutdown.
                if (!Objects.toString(error.getSQLState(), "08").matches("(08|40|53|57).*"))
                    throw error;
                System.out.println("connection: " + error.getMessage());
                if (connection != null)
                    connection.close();
                connection = null;
                if (stop)
                    throw new CancellationException("what is in hand comes back when its lease runs out");
                Thread.sleep(500);
            }
        }
    }

    static List<Job> read(Connection c) throws SQLException {
        try (var s = c.prepareStatement("""
                SELECT msg_id, receipt, read_ct, (message -> 'id')::bigint, (message -> 'seconds')::float8,
                       (message -> 'failures')::int
                FROM queue.read(?, vt => ?, qty => ?)""")) {
            s.setString(1, queue);
            s.setDouble(2, lease);
            s.setLong(3, BATCH);
            var jobs = new ArrayList<Job>();
            for (var r = s.executeQuery(); r.next();)
                jobs.add(new Job(r.getLong(1), r.getLong(2), r.getInt(3), r.getLong(4), r.getDouble(5), r.getInt(6)));
            return jobs;
        }
    }

    // The one value that a statement answers, if it answers any.
    static Object call(Connection c, String sql, Object... values) throws SQLException {
        try (var s = c.prepareStatement(sql)) {
            for (int i = 0; i < values.length; i++)
                s.setObject(i + 1, values[i]);
            if (!s.execute())
                return null;
            var r = s.getResultSet();
            return r.next() ? r.getObject(1) : null;
        }
    }

    // Moves the end of all leases in hand, and lets go of those that somebody else has by now.
    static Void renew(Connection c, Map<Long, Job> hand, double seconds) throws SQLException {
        try (var s = c.prepareStatement("SELECT msg_id FROM queue.set_vt_batch(?, ?, ?, ?)")) {
            s.setString(1, queue);
            s.setArray(2, c.createArrayOf("bigint", hand.keySet().toArray()));
            s.setDouble(3, seconds);
            s.setArray(4, c.createArrayOf("bigint", hand.values().stream().map(Job::receipt).toArray()));
            var kept = new HashSet<Long>();
            for (var r = s.executeQuery(); r.next();)
                kept.add(r.getLong(1));
            if (hand.keySet().retainAll(kept))
                System.out.println("lost a lease");
            return null;
        }
    }

    // The ack and the result, both or neither. False: the lease was lost, and so the work was somebody else's.
    static boolean finish(Connection c, Job job, String result) throws SQLException {
        c.setAutoCommit(false);
        try {
            boolean ours = (Boolean) call(c, "SELECT queue.delete(?, ?, ?)", queue, job.msgId, job.receipt);
            if (ours)
                call(c, "INSERT INTO results VALUES (?, ?, ?)", queue, job.id, result);
            c.commit();
            return ours;
        } catch (SQLException error) {
            c.rollback();
            throw error;
        } finally {
            c.setAutoCommit(true);
        }
    }

    static void handle(ExecutorService thread, Job job, Map<Long, Job> hand) throws Exception {
        var future = thread.submit(() -> work(job));
        try {
            String result;
            while (true) {
                try {
                    result = future.get((long) (lease * 1000 / 3), TimeUnit.MILLISECONDS);
                    break;
                } catch (TimeoutException stillAtWork) {
                    run(c -> renew(c, hand, lease));
                }
            }
            String text = result;
            boolean done = run(c -> finish(c, job, text));
            System.out.println((done ? "done " : "too late, the lease was lost: ") + job.msgId);
        } catch (CancellationException error) {
            throw error;
        } catch (Exception error) { // of the work or of its INSERT: the message's fault, not ours
            var cause = error instanceof ExecutionException ? error.getCause() : error;
            var text = cause.getMessage();
            System.out.println("failed: " + text);
            run(c -> call(c, "SELECT queue.nack(?, ?, ?, error => ?)", queue, job.msgId, job.receipt, text));
        }
    }

    public static void main(String[] args) throws Exception {
        if (args.length > 0)
            queue = args[0];
        if (args.length > 1)
            lease = Double.parseDouble(args[1]);
        var main = Thread.currentThread();
        // SIGTERM starts this thread, and the process ends when it has ended: with status 143.
        Runtime.getRuntime().addShutdownHook(new Thread(() -> {
            stop = true;
            try {
                main.join();
            } catch (InterruptedException impatient) {
            }
        }));
        var thread = Executors.newSingleThreadExecutor();
        try {
            while (!stop) {
                var batch = run(Worker::read);
                if (batch.isEmpty())
                    run(c -> call(c, "CALL queue.wait(?, ?)", queue, WAIT));
                var hand = new LinkedHashMap<Long, Job>();
                batch.forEach(job -> hand.put(job.msgId, job));
                for (var job : batch) {
                    if (stop || !hand.containsKey(job.msgId))
                        continue;
                    handle(thread, job, hand);
                    hand.remove(job.msgId);
                }
                if (!hand.isEmpty()) {
                    run(c -> renew(c, hand, 0)); // to stop is to give the rest back, at once
                    System.out.println("gave back " + hand.size());
                }
            }
        } finally {
            thread.shutdownNow();
        }
    }
}
