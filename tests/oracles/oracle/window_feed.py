"""Events into a server through REST or gRPC, with the ledger watched meanwhile."""

import json
import random
import threading
import time
from dataclasses import dataclass, field

from . import rest
from .moments import proto
from .rest import Rest

LEDGER = ("counted", "unused", "late", "duplicate", "dead")
SETTLE_S_MAX = 60
# Commits come at boundaries of slides: what is counted need not be committed.
COMMIT_S_MAX = 2


@dataclass
class Sums:
    """What the answers to all calls add up to."""

    accepted: int = 0
    unused: int = 0
    late: int = 0
    duplicate: int = 0
    rejected: list = field(default_factory=list)

    def add(self, accepted, unused, late, duplicate, rejected):
        self.accepted += accepted
        self.unused += unused
        self.late += late
        self.duplicate += duplicate
        self.rejected += rejected

    def counted(self):
        return self.accepted - self.unused - self.late - self.duplicate

    def as_ledger(self):
        return {"produced": self.accepted, "counted": self.counted(), "unused": self.unused, "late": self.late, "duplicate": self.duplicate, "dead": 0}


def streams(client):
    return client.good("GET", "/admin/streams").json()["streams"]


def ledger(client):
    """The ledgers of all partitions added up."""
    total = dict.fromkeys(("produced", *LEDGER), 0)
    for stream in streams(client):
        for name in total:
            total[name] += int(stream["ledger"].get(name, 0))
    return total


def balanced(total):
    return total["produced"] == sum(total[name] for name in LEDGER)


def settle(client):
    """Waits until everything published is counted and, if that comes soon, durable. Returns the lag that is left."""
    started = time.monotonic()
    while True:
        found, waited = streams(client), time.monotonic() - started
        lag = sum(int(stream["lag"]) for stream in found)
        durable = all(int(stream["committed_offset"]) >= int(stream["end_offset"]) for stream in found)
        if lag == 0 and (durable or waited > COMMIT_S_MAX) or waited > SETTLE_S_MAX:
            return lag
        time.sleep(0.02)


def publish_rest(client, batches, sums, counters):
    """A batch is an NDJSON body."""
    for batch in batches:
        body = "".join(json.dumps(event.json(), ensure_ascii=False) + "\n" for event in batch).encode()
        counters["sent"] += len(batch)
        answer = client.good("POST", "/events", body, {"Content-Type": rest.NDJSON}).json()
        sums.add(answer["accepted"], answer["unused"], answer["late"], answer["duplicate"], answer["rejected"])
        counters["answered"] += len(batch)


def publish_grpc(client, batches, sums, counters):
    """A batch is a message of one `StreamPublishEvents`; answer i acknowledges request i."""
    pb, sizes = client.pb, []

    def requests():
        for batch in batches:
            sizes.append(len(batch))
            counters["sent"] += len(batch)
            yield pb.StreamPublishEventsRequest(events=[event_proto(pb, event) for event in batch])

    answers = 0
    for answer in client.stream("StreamPublishEvents", requests()):
        sums.add(answer.accepted, answer.unused, answer.late, answer.duplicate, list(answer.rejected))
        counters["answered"] += sizes[answers]
        answers += 1
    if answers != len(sizes):
        raise ValueError(f"{answers} answers to {len(sizes)} requests")


WAYS = {"rest": publish_rest, "grpc": publish_grpc}


def event_proto(pb, event):
    from google.protobuf.timestamp_pb2 import Timestamp

    message = pb.Event(
        entity_id=event.entity, event_type=event.event_type, value=pb.Value(float64_value=event.value),
        timestamp=proto(Timestamp, event.moment_us), event_id=event.event_id,
    )
    for name, value in event.metadata.items():
        if isinstance(value, int):
            message.metadata[name].int64_value = value
        else:
            message.metadata[name].string_value = value
    return message


def cut(events, seed, least=200, most=2000):
    """Batches of random sizes."""
    dice, start = random.Random(seed), 0
    while start < len(events):
        size = dice.randint(least, most)
        yield events[start:start + size]
        start += size


class LedgerWatch:
    """Reads the ledger at random moments while others publish: it must add up in every sample, never go back, and hold
    at least what was answered before the question and at most what was sent before its answer."""

    def __init__(self, server, counters, seed):
        self.server, self.counters = server, counters
        self.dice, self.ended = random.Random(seed), threading.Event()
        self.samples, self.problems, self.failure = 0, [], None
        self.base = ledger(Rest(server.url, server.key))["produced"]
        self.thread = threading.Thread(target=self._watch, daemon=True)

    def _watch(self):
        try:
            client, last = Rest(self.server.url, self.server.key, timeout_s=30), None
            while not self.ended.wait(self.dice.uniform(0.0, 0.04)):
                before = self.counters["answered"]
                now = ledger(client)
                after = self.counters["sent"]
                self.samples += 1
                produced = now["produced"] - self.base
                if not balanced(now):
                    self.problems.append(f"does not add up: {now}")
                if not before <= produced <= after:
                    self.problems.append(f"{before} answered, {after} sent, produced {produced}")
                if last and any(now[name] < last[name] for name in now):
                    self.problems.append(f"went back: {last} -> {now}")
                last = now
        except Exception as failure:  # noqa: BLE001 - belongs in the report
            self.failure = f"{type(failure).__name__}: {failure}"

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.ended.set()
        self.thread.join(60)
        if self.failure:
            self.problems.append(self.failure)
