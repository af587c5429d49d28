#!/usr/bin/env python3
"""Training sets taken while others write: what they promise about `known_at`, and what they must have seen.

Writers correct and extend the same few devices without pause, through REST and gRPC. Meanwhile training sets are taken
again and again, without `known_at`:

- each holds every row that was acknowledged before it was asked for (the newest by moment, or one learned later still);
- each states its settled time S, and asked again later with `known_at` = S it is what it was, byte for byte, whenever
  it called itself repeatable; and two askings with one `known_at` agree always;
- `known_at` between two acknowledged writes of one device shows the first and not the second.

    python3 knowledge.py --larder target/release/larder [--seconds 20] [--seed 1]
"""

import argparse
import json
import pathlib
import random
import shutil
import sys
import tempfile
import threading
import time

from google.protobuf.timestamp_pb2 import Timestamp

from oracle import rest
from oracle.moments import format_us, parse_us, proto
from oracle.report import Report
from oracle.rest import Rest
from oracle.server import Server
from oracle.stubs import Grpc

DEVICES = 20
MOMENTS = 50
START_US = parse_us("2024-01-01T00:00:00Z")
SPINE = [(f"device-{d}", START_US + m * 1_000_000) for d in range(DEVICES) for m in range(0, MOMENTS, 3)]


class Acknowledged:
    """What is known to be stored: per (device, moment) the codes in the order of their acknowledgements."""

    def __init__(self):
        self.lock = threading.Lock()
        self.codes = {}

    def add(self, device, moment_us, code):
        with self.lock:
            self.codes.setdefault((device, moment_us), []).append(code)

    def rows(self):
        return sum(len(codes) for codes in self.codes.values())

    def last_before(self, device, moment_us):
        with self.lock:
            moments = [m for d, m in self.codes if d == device and m <= moment_us]
            return (max(moments), self.codes[device, max(moments)][-1]) if moments else None


def writer(server, name, acknowledged, codes, ended, seed, problems):
    """Writes to devices of its own (so that acknowledgement order is the order of knowledge)."""
    dice = random.Random(seed)
    own = [d for d in range(DEVICES) if d % 2 == (name == "grpc")]
    client = Rest(server.url, server.key) if name == "rest" else Grpc(server.url, server.key)
    try:
        while not ended.is_set():
            devices = dice.sample(own, dice.randint(1, 5))
            rows = [(f"device-{d}", START_US + dice.randrange(MOMENTS) * 1_000_000, next(codes)) for d in devices]
            if name == "rest":
                answer = client.good("POST", "/features/write", {"rows": [
                    {"entity_type": "device", "entity_id": d, "event_timestamp": format_us(t), "values": {"code": c}} for d, t, c in rows
                ]}).json()
                accepted = answer["accepted"]
            else:
                pb = client.pb
                answer = client.unary("WriteFeatures", pb.WriteFeaturesRequest(rows=[
                    pb.FeatureRow(entity_type="device", entity_id=d, event_timestamp=proto(Timestamp, t), values={"code": pb.Value(int64_value=c)}) for d, t, c in rows
                ]))
                accepted = answer.accepted
            if accepted != len(rows):
                problems.append(f"{name}: {accepted} of {len(rows)} accepted")
            for device, moment_us, code in rows:
                acknowledged.add(device, moment_us, code)
    except Exception as failure:  # noqa: BLE001
        problems.append(f"{name}: {failure!r}")


def training_set(client, known_at=None):
    options = {"features": ["code"], "details": True, **({"known_at": known_at} if known_at else {})}
    lines = [json.dumps(options)] + [json.dumps({"entity_id": d, "timestamp": format_us(t)}) for d, t in SPINE]
    answer = client.good("POST", "/features/batch", "\n".join(lines).encode(), {"Content-Type": rest.NDJSON, "TE": "trailers"})
    said = {**answer.headers, **answer.trailers}
    return answer.body, said["x-larder-settled-at"], said["x-larder-repeatable"] == "true"


def unseen(body, before):
    """Rows older than what had been acknowledged before the question. Codes grow, and a device has one writer."""
    found = []
    for line, at_least in zip(body.splitlines(), before, strict=True):
        row = json.loads(line)
        if at_least is None:
            continue
        moment_us, code = at_least
        got = row["event_timestamps"]["code"]
        if got is None or parse_us(got) < moment_us or (parse_us(got) == moment_us and row["code"] < code):
            found.append(f"{row['entity_id']} at {row['timestamp']}: {row['code']} of {got}, acknowledged before: {code} of {format_us(moment_us)}")
    return found


def run(server, report, seconds, seed):
    client = Rest(server.url, server.key)
    client.good("POST", "/features/register", {"features": [{"name": "code", "entity_type": "device", "dtype": "int64"}]})
    acknowledged, ended, problems, codes = Acknowledged(), threading.Event(), [], iter(range(1, 1 << 62))
    threads = [threading.Thread(target=writer, args=(server, name, acknowledged, codes, ended, seed + i, problems)) for i, name in enumerate(("rest", "grpc"))]
    for thread in threads:
        thread.start()
    taken, older, until = [], [], time.monotonic() + seconds
    try:
        while time.monotonic() < until:
            before = [acknowledged.last_before(*row) for row in SPINE]
            body, settled_at, repeatable = training_set(client)
            older += unseen(body, before)
            early = training_set(client, settled_at)[0] if repeatable else None
            taken.append((body, settled_at, repeatable, early))
    finally:
        ended.set()
        for thread in threads:
            thread.join()
    report.check("writers wrote without a fault", not problems, problems[:3] or f"{acknowledged.rows()} rows")
    report.check("training sets hold what was acknowledged before", not older, f"{len(taken)} taken, {len(older)} older cells {older[:3] or ''}")
    held = [entry for entry in taken if entry[2]]
    report.check("some call themselves repeatable", bool(held), f"{len(held)} of {len(taken)}")
    at_once = sum(body != early for body, _, _, early in held)
    report.check("repeated at once by known_at = S", at_once == 0, f"{at_once} of {len(held)} differ")
    again = {settled_at: training_set(client, settled_at)[0] for _, settled_at, _, _ in taken}
    later = sum(again[settled_at] != body for body, settled_at, _, _ in held)
    report.check("repeated at the end by known_at = S", later == 0, f"{later} of {len(held)} differ")
    server.restart()
    client = Rest(server.url, server.key)
    changed = sum(training_set(client, settled_at)[0] != body for settled_at, body in again.items())
    report.check("and after a restart", changed == 0, f"{changed} of {len(again)} differ")
    between(client, report, acknowledged)


def between(client, report, acknowledged):
    """`known_at` at and just before the moment a correction was learned, for some corrected moments."""
    wrong, tried = [], 0
    for (device, moment_us), codes in sorted(acknowledged.codes.items())[:200]:
        page = client.good("GET", f"/features/code/history?entity_id={device}&page_size=1000&from={format_us(moment_us)}&to={format_us(moment_us + 1)}").json()
        learned = {v["value"]: parse_us(v["created_timestamp"]) for v in page["values"]}
        for earlier, later in zip(codes, codes[1:3]):
            tried += 1
            learned_us = learned[later]
            for known_us, want in ((learned_us, later), (learned_us - 1, earlier)):
                row = client.good("POST", "/features/batch", {
                    "features": ["code"], "known_at": format_us(known_us), "spine": [{"entity_id": device, "timestamp": format_us(moment_us)}],
                }).json()["rows"][0]
                if row["code"] != want:
                    wrong.append(f"{device} known at {format_us(known_us)}: {row['code']}, not {want}")
    report.check("known_at splits a row from its correction, to the microsecond", not wrong, f"{tried} corrections, {len(wrong)} wrong {wrong[:3] or ''}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--larder", required=True)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    report = Report()
    directory = pathlib.Path(tempfile.mkdtemp(prefix="larder-knowledge-"))
    try:
        with Server(arguments.larder, directory / "data") as server:
            run(server, report, arguments.seconds, arguments.seed)
            report.check("no panic in the log", "panicked" not in server.log())
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    return report.finish()


if __name__ == "__main__":
    sys.exit(main())
