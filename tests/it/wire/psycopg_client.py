"""What psycopg does that others do not: a pipeline, `COPY`, a notification, a cancelled query, prepared statements."""

import sys
import threading

import psycopg

url, root = sys.argv[1], sys.argv[2]


def work(conn):
    conn.execute("create temp table t (n int primary key, text text)")
    with conn.pipeline() as pipeline:
        for n in range(100):
            conn.execute("insert into t values (%s, %s)", (n, "hidden"), prepare=True)
        rows = conn.execute("select count(*) from t")
        pipeline.sync()
        assert rows.fetchone() == (100,)
    try:
        with conn.pipeline():
            conn.execute("insert into t values (%s)", (1000,))
            conn.execute("insert into t values (%s)", (1,))
            conn.execute("insert into t values (%s)", (1001,))
        raise AssertionError("a duplicate went in")
    except psycopg.errors.UniqueViolation:
        pass
    with conn.cursor() as cursor:
        with cursor.copy("copy t from stdin") as copy:
            for n in range(2000, 3000):
                copy.write_row((n, "hidden"))
        with cursor.copy("copy t to stdout") as copy:
            assert sum(1 for _ in copy.rows()) >= 1100
        cursor.execute("select n from t order by n limit 5")
        assert [n for (n,) in cursor] == [0, 1, 2, 3, 4]
    conn.execute("listen news")
    with psycopg.connect(conn.info.dsn, password=conn.info.password, autocommit=True) as other:
        other.execute("notify news, 'here'")
    heard = next(conn.notifies(timeout=60, stop_after=1))
    assert heard.payload == "here", heard
    # Sent as soon as the query runs, and again for as long as that was too early.
    over = threading.Event()

    def cancel():
        while not over.wait(0.2):
            conn.cancel_safe(timeout=30)

    canceller = threading.Thread(target=cancel)
    canceller.start()
    try:
        conn.execute("select pg_sleep(600)")
        raise AssertionError("it was not cancelled")
    except psycopg.errors.QueryCanceled:
        pass
    finally:
        over.set()
        canceller.join()


version = psycopg.pq.version()
kinds = [{"sslmode": "verify-full", "sslrootcert": root} if root else {"sslmode": "disable"}]
if root and version >= 170000:
    kinds.append({**kinds[0], "sslnegotiation": "direct"})
if version >= 180000:
    # Longer keys for cancel requests, of a server that has them.
    kinds.append({**kinds[0], "max_protocol_version": "3.2"})
for kind in kinds:
    with psycopg.connect(url, autocommit=True, **kind) as conn:
        assert conn.pgconn.ssl_in_use == bool(root), kind
        work(conn)
print(f"libpq {version}: {[list(kind)[-1] for kind in kinds]}")
