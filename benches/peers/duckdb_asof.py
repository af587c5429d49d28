#!/usr/bin/env python3
"""DuckDB's ASOF JOIN on the history of `benches/history/world.rs`.

    python3 duckdb_asof.py [ROWS]

Prints a line for each spine: rows, kind of keys, median seconds, result fetched as Arrow. Two threads, tables in memory.
"""

import os
import statistics
import sys
import time

import duckdb
import numpy as np
import pyarrow as pa

ENTITIES = 100_000
COLUMNS = 5
START_US = 1_700_000_000_000_000
STEP_US = 100_000
TURNS = 5
THREADS = min(2, os.cpu_count())


def splitmix64(n):
    n = (n.astype(np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    n = (n ^ (n >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    n = (n ^ (n >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return n ^ (n >> np.uint64(31))


def history(rows):
    row = np.arange(rows, dtype=np.uint64)
    columns = {
        "entity": (splitmix64(row) % np.uint64(ENTITIES)).astype(np.int64),
        "ts": START_US + row.astype(np.int64) * STEP_US,
    }
    for column in range(COLUMNS):
        bits = splitmix64(row * np.uint64(COLUMNS) + np.uint64(column)) >> np.uint64(11)
        columns[f"f{column}"] = bits.astype(np.float64) / float(1 << 53)
    return pa.table(columns)


def spine(rows, history_rows):
    row = np.arange(rows, dtype=np.uint64)
    span = np.uint64(history_rows * STEP_US)
    return pa.table({
        "n": row.astype(np.int64),
        "entity": (splitmix64(row + np.uint64(1 << 40)) % np.uint64(ENTITIES)).astype(np.int64),
        "ts": START_US + (splitmix64(row + np.uint64(1 << 41)) % span).astype(np.int64),
    })


def main():
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000_000
    db = duckdb.connect(config={"threads": THREADS})
    arrow_history = history(rows)
    features = ", ".join(f"h.f{column}" for column in range(COLUMNS))
    for keys, expression in (("int", "entity"), ("string", "printf('user_%06d', entity)")):
        db.execute("DROP TABLE IF EXISTS history")
        db.execute(f"CREATE TABLE history AS SELECT * REPLACE ({expression} AS entity) FROM arrow_history")
        for spine_rows in (10_000, 1_000_000):
            arrow_spine = spine(spine_rows, rows)
            db.execute("DROP TABLE IF EXISTS spine")
            db.execute(f"CREATE TABLE spine AS SELECT * REPLACE ({expression} AS entity) FROM arrow_spine")
            query = f"SELECT s.n, s.ts, h.ts AS event, {features} FROM spine s ASOF LEFT JOIN history h ON s.entity = h.entity AND s.ts >= h.ts"
            seconds = []
            for _ in range(TURNS):
                start = time.perf_counter()
                result = db.execute(query).to_arrow_table()
                seconds.append(time.perf_counter() - start)
                assert result.num_rows == spine_rows
            print(spine_rows, keys, statistics.median(seconds), flush=True)


if __name__ == "__main__":
    np.seterr(over="ignore")
    main()
