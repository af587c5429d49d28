#!/usr/bin/env python3
"""The main job on real purchases, judged by brute force.

Writes a year-end of an online shop's lines as feature rows, asks for the training set of all purchases in every way
there is, and compares every cell with what the rules give. Then a restart, 1 000 corrections, and the first training
set once more by `known_at`.

    python3 retail.py FILE.csv.gz --larder target/release/larder      # its own server: everything, restart included
    python3 retail.py FILE.csv.gz URL KEY [--after-restart]           # a server that runs already
    python3 retail.py FILE.csv.gz --self-test                         # no server: the two brute forces against each other
"""

import argparse
import hashlib
import json
import pathlib
import shutil
import sys
import tempfile

from oracle import retail_read as read
from oracle import retail_write as write
from oracle.report import Report
from oracle.rest import Rest
from oracle.retail_data import Names, corrections, eve_spine, input_rows, read_lines, spine
from oracle.retail_model import Model, duckdb_expected
from oracle.server import Server
from oracle.stubs import Grpc

DAY_US = 86_400_000_000
CORRECTIONS = 1000
CORRECTIONS_SEED = 20101201

# Every way to ask for a training set, and the two that ask online as of each row's moment.
TRAINING = {
    "REST JSON in pieces": ("rest", read.json_pieces),
    "REST NDJSON": ("rest", read.ndjson),
    "REST NDJSON to Parquet": ("rest", read.parquet),
    "REST Arrow to Arrow": ("rest", read.arrow),
    "gRPC typed": ("grpc", read.grpc_typed),
    "gRPC Arrow": ("grpc", read.grpc_arrow),
}
ONLINE = {"REST online as_of": ("rest", read.online), "gRPC online as_of": ("grpc", read.grpc_online)}


class Run:
    """One pass over one server: clients, the model of what it was told, and the report."""

    def __init__(self, arguments, report):
        self.arguments, self.report = arguments, report
        self.names = Names(arguments.suffix)
        self.lines = read_lines(arguments.file, arguments.limit)
        self.rows = list(input_rows(self.lines, spanning=arguments.rows == "spanning"))
        self.model = Model()
        self.counts = self.model.write(self.rows)
        self.purchases = spine(self.lines)
        self.state = pathlib.Path(arguments.state)
        self.clients = {}

    def connect(self, url, key):
        for client in self.clients.values():
            client.close()
        self.clients = {"rest": Rest(url, key), "grpc": Grpc(url, key)}

    # --- steps ---

    def load(self):
        registered = self.clients["rest"].good("POST", "/features/register", self.names.registration()).json()
        self.report.equal("features registered", 4, len(registered["features"]))
        way = write.WAYS[self.arguments.via]
        client = self.clients["grpc" if self.arguments.via == "grpc" else "rest"]
        got, seconds = read.timed(lambda: way(client, self.rows, self.names))
        self.report.equal(f"{len(self.rows)} {self.arguments.rows} rows written via {self.arguments.via} in {seconds:.1f} s", self.counts, got)

    def read_all(self, when, known_at=None, model=None):
        """Every way over every purchase, then over the eve of each; both as the rules say."""
        model = model or self.model
        purchases = read.Question(self.names, self.purchases, known_at=known_at)
        eve = read.Question(self.names, eve_spine(self.purchases), max_age="1d", max_age_us=DAY_US, known_at=known_at)
        ways = {**TRAINING, **({} if known_at else ONLINE)}
        readings = {}
        for spine_name, question in (("purchases", purchases), ("eve, max_age 1d", eve)):
            expected = model.expected(question.spine, self.names, question.max_age_us)
            for name, (client, way) in ways.items():
                title = f"{when}: {name}, {spine_name}"
                answer = self.report.attempt(title, lambda c=client, w=way, q=question: read.timed(lambda: w(self.clients[c], q)))
                if answer:
                    reading, seconds = answer
                    found = read.differences(reading, question, expected)
                    self.report.differences(f"{title} ({seconds:.1f} s)", len(reading.rows), found)
                    if spine_name == "purchases":
                        readings[name] = reading
        return readings

    def mapped_columns(self):
        question = read.Question(self.names, self.purchases[:3000])
        columns = {"timestamp": "bought_at", "customer": "customer_id", "product": "stock_code"}
        reading = self.report.attempt("columns mapping", lambda: read.json_pieces(self.clients["rest"], question, columns))
        if reading:
            self.report.differences("columns mapping", len(reading.rows), read.differences(reading, question, self.model.expected(question.spine, self.names)))

    def remember(self, readings):
        """The bytes of the first answers and their settled times: what `known_at` must repeat."""
        self.state.mkdir(parents=True, exist_ok=True)
        first = {}
        for name in ("REST NDJSON", "REST NDJSON to Parquet", "REST Arrow to Arrow"):
            if reading := readings.get(name):
                first[name] = {"settled_at": reading.settled_at, "sha256": hashlib.sha256(reading.raw).hexdigest(), "bytes": len(reading.raw)}
                print(f"     {name}: {len(reading.raw)} bytes, sha256 {first[name]['sha256'][:16]}…, settled at {reading.settled_at}")
        for name in ("REST JSON in pieces", "REST NDJSON", "gRPC typed"):
            if (reading := readings.get(name)) and reading.repeatable is not None:
                self.report.equal(f"{name} says repeatable", True, reading.repeatable)
        if reading := readings.get("REST NDJSON to Parquet"):
            (self.state / "purchases.parquet").write_bytes(reading.raw)
        (self.state / "first.json").write_text(json.dumps({"first": first, "corrected": False}))

    def correct(self):
        """Other values at existing event timestamps. The model learns them too."""
        client = self.clients["grpc" if self.arguments.via == "grpc" else "rest"]
        way = write.WAYS["grpc" if self.arguments.via == "grpc" else "json"]
        rows = [(row,) for row in corrections(self.model.stored(), CORRECTIONS, CORRECTIONS_SEED)]
        expected = self.model.write(rows)
        self.report.equal(f"{len(rows)} corrections written", expected, way(client, rows, self.names))
        remembered = self.remembered()
        (self.state / "first.json").write_text(json.dumps({**remembered, "corrected": True}))

    def repeat(self, when):
        """`known_at` = the first settled time gives the first bytes again."""
        question = read.Question(self.names, self.purchases)
        for name, first in self.remembered()["first"].items():
            question.known_at = first["settled_at"]
            reading = self.report.attempt(f"{when}: {name} again", lambda n=name: TRAINING[n][1](self.clients["rest"], question))
            if reading:
                self.report.equal(f"{when}: {name} with known_at = {first['settled_at']}, sha256", first["sha256"], hashlib.sha256(reading.raw).hexdigest())
                if first["sha256"] != hashlib.sha256(reading.raw).hexdigest():
                    (self.state / (name.replace(" ", "-") + ".again")).write_bytes(reading.raw)

    def known_then(self, when):
        """Cell by cell: with `known_at` = S the history before the corrections; with `"row"` nothing was known yet."""
        before = Model()
        before.write(self.rows)
        settled = max(first["settled_at"] for first in self.remembered()["first"].values())
        self.read_all(f"{when}, known_at = S", known_at=settled, model=before)
        question = read.Question(self.names, self.purchases[:2000], known_at="row")
        nothing = Model().expected(question.spine, self.names)
        for name, (client, way) in TRAINING.items():
            reading = self.report.attempt(f"{when}: {name}, known_at row", lambda c=client, w=way: w(self.clients[c], question))
            if reading:
                self.report.differences(f"{when}: {name}, known_at = \"row\" (all learned later)", len(reading.rows), read.differences(reading, question, nothing))

    def remembered(self):
        return json.loads((self.state / "first.json").read_text())

    def apply_remembered_corrections(self):
        """After a restart of this script: what an earlier run has written belongs to the model."""
        if self.remembered()["corrected"]:
            self.model.write([(row,) for row in corrections(self.model.stored(), CORRECTIONS, CORRECTIONS_SEED)])


def self_test(run):
    """The two brute forces against each other, on the file and after corrections."""
    rows = len(run.purchases)
    print(f"{len(run.lines)} lines, {len(run.rows)} input rows, {rows} purchases, expected {run.counts}")
    for when in ("file", "file and corrections"):
        for name, spine_rows, age in (("purchases", run.purchases, None), ("eve, max_age 1d", eve_spine(run.purchases), DAY_US)):
            plain = run.model.expected(spine_rows, run.names, age)
            by_duckdb = duckdb_expected(run.model, spine_rows, run.names, age)
            found = [f"line {r.line}: {a} / {b}" for r, a, b in zip(spine_rows, plain, by_duckdb, strict=True) if a != b]
            run.report.differences(f"{when}: plain Python against DuckDB ASOF, {name}", rows, found)
            statuses = {}
            for cells in plain:
                for status, _, _ in cells.values():
                    statuses[status] = statuses.get(status, 0) + 1
            print(f"     {statuses}")
        run.model.write([(row,) for row in corrections(run.model.stored(), CORRECTIONS, CORRECTIONS_SEED)])


def whole(run, server):
    run.connect(server.url, server.key)
    run.load()
    run.remember(run.read_all("first"))
    run.mapped_columns()
    run.report.equal("SIGTERM ends with 0", 0, server.restart())
    run.connect(server.url, server.key)
    run.read_all("after restart")
    run.repeat("after restart, before corrections")
    run.correct()
    run.repeat("after corrections")
    run.known_then("after corrections")
    run.read_all("after corrections")
    server.kill()
    server.start()
    run.connect(server.url, server.key)
    run.repeat("after kill -9")
    run.read_all("after kill -9")


def attached(run):
    run.connect(run.arguments.url, run.arguments.key)
    if run.arguments.after_restart:
        run.apply_remembered_corrections()
        run.repeat("after restart")
        run.read_all("after restart")
        return
    run.load()
    run.remember(run.read_all("first"))
    run.mapped_columns()
    run.correct()
    run.repeat("after corrections")
    run.known_then("after corrections")
    run.read_all("after corrections")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file")
    parser.add_argument("url", nargs="?")
    parser.add_argument("key", nargs="?")
    parser.add_argument("--larder", help="start this binary with a data directory of its own")
    parser.add_argument("--via", choices=list(write.WAYS), default="rest", help="rest: one NDJSON stream; json: JSON bodies; grpc: StreamWriteFeatures")
    parser.add_argument("--rows", choices=["split", "spanning"], default="split", help="a line as a row a group, or as one row over both")
    parser.add_argument("--suffix", default="", help="appended to every name: several passes in one store")
    parser.add_argument("--state", default="retail-state", help="where the first answers' hashes are kept between runs")
    parser.add_argument("--limit", type=int, help="only the first lines")
    parser.add_argument("--after-restart", action="store_true", help="only read again")
    parser.add_argument("--self-test", action="store_true", help="no server")
    arguments = parser.parse_args()
    report = Report()
    run = Run(arguments, report)
    if arguments.self_test:
        self_test(run)
    elif arguments.larder:
        directory = pathlib.Path(tempfile.mkdtemp(prefix="larder-retail-"))
        try:
            with Server(arguments.larder, directory / "data") as server:
                whole(run, server)
        finally:
            shutil.rmtree(directory, ignore_errors=True)
    elif arguments.url and arguments.key:
        attached(run)
    else:
        parser.error("either URL and KEY, or --larder, or --self-test")
    return report.finish()


if __name__ == "__main__":
    sys.exit(main())
