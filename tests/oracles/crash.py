#!/usr/bin/env python3
"""`kill -9` amid writes, again and again: what was acknowledged is there, what was not is there wholly or not at all.

Three writers work at once, each on devices of its own: REST with JSON bodies, gRPC `WriteFeatures`, and gRPC
`StreamWriteFeatures` with several requests under way. A request holds rows of several devices, each row spans two
feature groups, and some rows correct an earlier moment. At a seeded random instant the server is killed (every fifth
time once more while it starts), started again on the same directory, and read back:

- every row of every acknowledged request, in both groups, exactly once;
- of any other request all rows in both groups, or none;
- nothing that was never sent; texts beside numbers unharmed;
- online answers, now and `as_of`, are what the history says;
- requests without an answer are sent again under their idempotency key and must then be there exactly once.

    python3 crash.py target/release/larder [--kills 25] [--seed 1]
"""

import argparse
import pathlib
import random
import shutil
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field

from google.protobuf.timestamp_pb2 import Timestamp

from oracle.moments import format_us, parse_us, proto
from oracle.report import Report
from oracle.rest import Rest, quoted
from oracle.server import Server
from oracle.stubs import Grpc

DEVICES_PER_WRITER = 12
ROWS_PER_REQUEST_MAX = 40
IN_FLIGHT_MAX = 8
START_US = parse_us("2024-01-01T00:00:00Z")
GROUPS = ("meter", "place")


@dataclass(frozen=True)
class CrashRow:
    device: str
    moment_us: int
    code: int

    def values(self):
        return {
            "meter_code": self.code, "meter_text": f"meter {self.code}",
            "place_code": self.code, "place_text": f"place {self.code}",
        }


@dataclass
class Request:
    key: str
    rows: list
    acknowledged: bool = False


@dataclass
class Writer:
    """One stream of requests; stops at the first failure, which is the kill."""

    name: str
    round_number: int
    codes: object
    dice: random.Random
    requests: list = field(default_factory=list)
    failure: str = ""

    def next_request(self):
        rows, moments = [], {}
        for _ in range(self.dice.randint(1, ROWS_PER_REQUEST_MAX)):
            device = f"{self.name}-{self.round_number}-{self.dice.randrange(DEVICES_PER_WRITER)}"
            # Few distinct moments a device: corrections and out-of-order rows come by themselves.
            moment_us = START_US + self.dice.randrange(5000) * 1_000_000
            while moments.get((device, moment_us)):
                moment_us += 1
            moments[device, moment_us] = True
            rows.append(CrashRow(device, moment_us, next(self.codes)))
        request = Request(f"crash-{self.round_number}-{self.name}-{len(self.requests)}", rows)
        self.requests.append(request)
        return request

    def devices(self):
        return sorted({row.device for request in self.requests for row in request.rows})


def row_json(row):
    return {"entity_type": "device", "entity_id": row.device, "event_timestamp": format_us(row.moment_us), "values": row.values()}


def row_proto(pb, row):
    message = pb.FeatureRow(entity_type="device", entity_id=row.device, event_timestamp=proto(Timestamp, row.moment_us))
    for name, value in row.values().items():
        if isinstance(value, int):
            message.values[name].int64_value = value
        else:
            message.values[name].string_value = value
    return message


def judge_answer(request, accepted, unchanged, rejected):
    if accepted + unchanged != len(request.rows) or rejected:
        raise AssertionError(f"{request.key}: {accepted} + {unchanged} of {len(request.rows)}, {rejected} rejected")
    request.acknowledged = True


# --- writers: each sends until the server is gone -------------------------------------------------------------------

def write_rest(server, writer):
    client = Rest(server.url, server.key, timeout_s=10)
    while True:
        send_rest(client, writer.next_request())


def send_rest(client, request):
    answer = client.good("POST", "/features/write", {"rows": [row_json(r) for r in request.rows]}, {"Idempotency-Key": request.key}).json()
    judge_answer(request, answer["accepted"], answer["unchanged"], answer["rejected"])


def write_unary(server, writer):
    client = Grpc(server.url, server.key, timeout_s=10)
    try:
        while True:
            send_unary(client, writer.next_request())
    finally:
        client.close()


def send_unary(client, request):
    pb = client.pb
    answer = client.unary("WriteFeatures", pb.WriteFeaturesRequest(rows=[row_proto(pb, r) for r in request.rows], idempotency_key=request.key))
    judge_answer(request, answer.accepted, answer.unchanged, answer.rejected)


def write_stream(server, writer):
    client = Grpc(server.url, server.key, timeout_s=60)
    pb = client.pb
    room = threading.Semaphore(IN_FLIGHT_MAX)
    ended = threading.Event()

    def requests():
        while not ended.is_set():
            room.acquire()
            request = writer.next_request()
            yield pb.StreamWriteFeaturesRequest(rows=[row_proto(pb, r) for r in request.rows], idempotency_key=request.key)

    try:
        for i, answer in enumerate(client.stream("StreamWriteFeatures", requests())):
            judge_answer(writer.requests[i], answer.accepted, answer.unchanged, answer.rejected)
            room.release()
    finally:
        ended.set()
        room.release()
        client.close()


WRITERS = {"rest": write_rest, "unary": write_unary, "stream": write_stream}


def run_writer(server, writer):
    try:
        WRITERS[writer.name](server, writer)
    except (AssertionError, KeyError, ValueError) as failure:
        writer.failure = f"{type(failure).__name__}: {failure}"
    except Exception as failure:  # noqa: BLE001 - the kill shows itself in many ways; anything before it is judged below
        writer.failure = "" if not server.alive() or getattr(server, "killing", False) else f"before the kill: {failure!r}"


# --- reading back ---------------------------------------------------------------------------------------------------

def history(client, device, feature):
    """[(moment, code)] in the order of the answer."""
    values, token = [], ""
    while True:
        page = client.good("GET", f"/features/{feature}/history?entity_id={quoted(device)}&page_size=1000&page_token={quoted(token)}").json()
        values += [(parse_us(v["event_timestamp"]), v["value"]) for v in page["values"]]
        token = page.get("next_page_token", "")
        if not token:
            return values


def verify(client, writer, report, when, dice):
    """Every device of the writer against what was sent. Returns the number of acknowledged rows seen."""
    problems, seen = [], {group: {} for group in GROUPS}
    sent = {row.code: row for request in writer.requests for row in request.rows}
    histories = {}
    for device in writer.devices():
        for group in GROUPS:
            rows = history(client, device, f"{group}_code")
            histories[device, group] = rows
            if [m for m, _ in rows] != sorted(m for m, _ in rows):
                problems.append(f"{device} {group}: history out of order")
            for moment_us, code in rows:
                seen[group][code] = seen[group].get(code, 0) + 1
                if code not in sent or sent[code].device != device or sent[code].moment_us != moment_us:
                    problems.append(f"{device} {group}: {code} at {moment_us} was never sent so")
    half = kept = 0
    for request in writer.requests:
        found = [seen[group].get(row.code, 0) for row in request.rows for group in GROUPS]
        if max(found) > 1:
            problems.append(f"{request.key}: a row is there {max(found)} times")
        if request.acknowledged and min(found) == 0:
            problems.append(f"{request.key}: acknowledged, {found.count(0)} of {len(found)} group rows missing")
        elif not request.acknowledged and 0 < sum(f > 0 for f in found) < len(found):
            half += 1
            problems.append(f"{request.key}: not acknowledged, half there: {sum(f > 0 for f in found)} of {len(found)}")
        elif not request.acknowledged and min(found) == 1:
            kept += 1
    problems += online_differences(client, writer, histories, dice)
    acknowledged = [r for r in writer.requests if r.acknowledged]
    rows = sum(len(r.rows) for r in acknowledged)
    report.check(
        f"{when} {writer.name}", not problems,
        f"{len(acknowledged)} requests of {rows} rows acknowledged, {len(writer.requests) - len(acknowledged)} open ({kept} kept whole), {len(problems)} problems",
    )
    for problem in problems[:5]:
        print(f"       {problem}")
    return rows


def online_differences(client, writer, histories, dice):
    """Now and as of a random moment: the last of the history at or before it."""
    devices = writer.devices()
    if not devices:
        return []
    problems = []
    for as_of_us in (None, START_US + dice.randrange(5000) * 1_000_000):
        body = {"entity_ids": devices, "features": [f"{g}_{part}" for g in GROUPS for part in ("code", "text")]}
        if as_of_us is not None:
            body["as_of"] = format_us(as_of_us)
        answer = client.good("POST", "/features/online", body).json()
        for device, result in zip(devices, answer["results"], strict=True):
            for group in GROUPS:
                rows = [row for row in histories[device, group] if as_of_us is None or row[0] <= as_of_us]
                got = (result["values"][f"{group}_code"], result["values"][f"{group}_text"])
                want = (rows[-1][1], f"{group} {rows[-1][1]}") if rows else (None, None)
                if got != want:
                    problems.append(f"{device} {group} online as of {as_of_us}: {got}, history says {want}")
    return problems


def registration():
    return {"features": [
        {"name": f"{group}_{part}", "entity_type": "device", "dtype": dtype, "group": group}
        for group in GROUPS for part, dtype in (("code", "int64"), ("text", "string"))
    ]}


# --- the loop -------------------------------------------------------------------------------------------------------

def one_round(server, number, codes, dice, report):
    writers = [Writer(name, number, codes, random.Random(dice.random())) for name in WRITERS]
    server.killing = False
    threads = [threading.Thread(target=run_writer, args=(server, writer), daemon=True) for writer in writers]
    for thread in threads:
        thread.start()
    time.sleep(dice.uniform(0.05, 2.0))
    server.killing = True
    server.kill()
    for thread in threads:
        thread.join(15)
    for writer in writers:
        if writer.failure:
            report.check(f"kill {number} {writer.name} wrote until the kill", False, writer.failure)
    if number % 5 == 4:
        kill_while_starting(server, dice)
    server.start()
    client, rpc = Rest(server.url, server.key), Grpc(server.url, server.key)
    for writer in writers:
        verify(client, writer, report, f"kill {number} (ready after {server.start_s * 1000:.0f} ms)", dice)
        for request in [r for r in writer.requests if not r.acknowledged]:
            send = (lambda r=request: send_rest(client, r)) if writer.name == "rest" else (lambda r=request: send_unary(rpc, r))
            report.attempt(f"kill {number} {request.key} sent again", send)
        verify(client, writer, report, f"kill {number} resent", dice)
    rpc.close()
    return writers


def kill_while_starting(server, dice):
    server.spawn()
    time.sleep(dice.uniform(0.0, 0.15))
    server.kill()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("larder", help="the binary")
    parser.add_argument("--kills", type=int, default=25)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    report, dice = Report(), random.Random(arguments.seed)
    codes = iter(range(1, 1 << 62))
    directory = pathlib.Path(tempfile.mkdtemp(prefix="larder-crash-"))
    try:
        with Server(arguments.larder, directory / "data") as server:
            Rest(server.url, server.key).good("POST", "/features/register", registration())
            rounds = [one_round(server, number, codes, dice, report) for number in range(arguments.kills)]
            client = Rest(server.url, server.key)
            rows = sum(verify(client, writer, report, "at the end,", dice) for writers in rounds for writer in writers)
            print(f"     {rows} acknowledged rows over {arguments.kills} kills")
            report.check("no panic in the log", "panicked" not in server.log())
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    return report.finish()


if __name__ == "__main__":
    sys.exit(main())
