"""Writers of events that outlive the server: each batch is sent again until it is acknowledged, in order.

Each has an event type (so a source and a watermark) and entities of its own. Event time runs faster than real time and
goes back and forth by less than the watermark's delay, so nothing is ever late; no two events of an entity are of one
moment. What the windows must hold is then the same whatever the kills did to the order of arrival.
"""

import random
import threading
import time

from . import window_data as data
from .moments import parse_us
from .rest import NDJSON, Rest
from .window_feed import event_proto

START_US = parse_us("2024-01-01T00:00:00Z")
ENTITIES = 40
DISORDER_US = 8 * data.MINUTE_US
STEP_US_MAX = 600_000
BATCH_MAX = 60
IN_FLIGHT_MAX = 4
CALL_S_MAX = 10
RETRY_S = 0.02
PAUSE_S = 0.01
# For so long after a restart calls may fail because of the kill: old connections, pauses before connecting again.
EXCUSED_S = 2.0


def groups():
    """Two windows for each writer's events."""
    found = []
    for name in WRITERS:
        for window, size_us, slide_us in (("5m", 5 * data.MINUTE_US, data.MINUTE_US), ("1h", data.HOUR_US, 5 * data.MINUTE_US)):
            prefix = f"{name}_{window}"
            found.append(data.Group(prefix, name, size_us, slide_us, data.DAY_US, data.some_functions(prefix)))
    return tuple(found)


class Writer(threading.Thread):
    """`gate` is open while the server is meant to be up, `server.deaths` counts the kills and `server.back_at` says since
    when it is up again. `stop()` ends after what is under way is acknowledged."""

    def __init__(self, name, server, gate, seed):
        super().__init__(daemon=True)
        self.name, self.server, self.gate = name, server, gate
        self.dice = random.Random(f"{seed} {name}")
        self.now_us = START_US
        self.events, self.taken = [], set()
        self.batches = self.retried = self.duplicates = 0
        self.ending, self.failure = threading.Event(), None

    def next_batch(self):
        batch = []
        for _ in range(self.dice.randint(1, BATCH_MAX)):
            self.now_us += self.dice.randrange(STEP_US_MAX)
            entity = f"{self.name}-{self.dice.randrange(ENTITIES)}"
            moment_us = self.now_us - self.dice.randrange(DISORDER_US)
            while (entity, moment_us) in self.taken:
                moment_us -= 1
            self.taken.add((entity, moment_us))
            value = self.dice.randrange(1, 100_000) / 100
            number = len(self.events) + len(batch)
            batch.append(data.Event(entity, self.name, moment_us, value, {"stock_code": f"s{self.dice.randrange(50)}"}, f"n{number}"))
        self.events += batch
        self.batches += 1
        return batch

    def judge(self, batch, accepted, unused, late, duplicate, rejected, first_time):
        """A batch sent once has no duplicates; one sent again may be there wholly, in part or not at all."""
        good = accepted == len(batch) and not unused and not late and not rejected and (duplicate == 0 or not first_time)
        if not good:
            raise AssertionError(f"{self.name}: {len(batch)} events (first time: {first_time}): accepted {accepted}, unused {unused}, late {late}, duplicate {duplicate}, rejected {list(rejected)[:2]}")
        self.duplicates += duplicate

    def run(self):
        try:
            WRITERS[self.name](self)
        except Exception as failure:  # noqa: BLE001 - reported by whoever joins
            self.failure = f"{type(failure).__name__}: {failure}"

    def stop(self):
        self.ending.set()
        self.join(120)
        return self.failure or ("does not end" if self.is_alive() else None)

    def one_by_one(self, send):
        """Sends batches with `send(batch)`, which raises while there is no server."""
        while not self.ending.is_set():
            batch, deaths = self.next_batch(), self.server.deaths
            while True:
                self.gate.wait()
                try:
                    answer = send(batch)
                except Exception as failure:  # noqa: BLE001 - the kill shows itself in many ways
                    self.excuse(failure)
                    self.retried += 1
                    time.sleep(RETRY_S)
                    continue
                self.judge(batch, *answer, first_time=deaths == self.server.deaths)
                break
            time.sleep(self.dice.uniform(0, 2 * PAUSE_S))

    def excuse(self, failure):
        """Only a kill excuses a failed call."""
        if time.monotonic() > self.server.back_at + EXCUSED_S:
            raise failure


def write_rest(writer):
    import json

    client = Rest(writer.server.url, writer.server.key, timeout_s=CALL_S_MAX)

    def send(batch):
        body = "".join(json.dumps(event.json()) + "\n" for event in batch).encode()
        answer = client.good("POST", "/events", body, {"Content-Type": NDJSON}).json()
        return answer["accepted"], answer["unused"], answer["late"], answer["duplicate"], answer["rejected"]

    writer.one_by_one(send)


def write_unary(writer):
    from .stubs import Grpc

    client = Grpc(writer.server.url, writer.server.key, timeout_s=CALL_S_MAX)

    def send(batch):
        answer = client.unary("PublishEvents", client.pb.PublishEventsRequest(events=[event_proto(client.pb, e) for e in batch]))
        return answer.accepted, answer.unused, answer.late, answer.duplicate, answer.rejected

    writer.one_by_one(send)
    client.close()


def write_stream(writer):
    """Several requests under way; after a failure all of them again, in order, over a new stream."""
    from .stubs import Grpc

    client = Grpc(writer.server.url, writer.server.key, timeout_s=600)
    pending, lock = [], threading.Lock()
    while pending or not writer.ending.is_set():
        writer.gate.wait()
        stream = _Stream(writer, client.pb, pending, lock)
        try:
            for i, answer in enumerate(client.stream("StreamPublishEvents", stream.requests())):
                first_time = i >= len(stream.again) and stream.deaths == writer.server.deaths
                writer.judge(pending[0], answer.accepted, answer.unused, answer.late, answer.duplicate, answer.rejected, first_time)
                pending.pop(0)
                stream.room.release()
        except AssertionError:
            raise
        except Exception as failure:  # noqa: BLE001 - the kill shows itself in many ways
            writer.excuse(failure)
            writer.retried += len(pending)
            time.sleep(RETRY_S)
        finally:
            stream.end()
    client.close()


class _Stream:
    """The requests of one stream: what is pending, then fresh batches, each pending from the moment it is made."""

    def __init__(self, writer, pb, pending, lock):
        self.writer, self.pb, self.pending, self.lock = writer, pb, pending, lock
        self.room, self.ended = threading.Semaphore(IN_FLIGHT_MAX), False
        self.again, self.deaths = list(pending), writer.server.deaths

    def requests(self):
        for batch in self.again:
            self.room.acquire()
            if self.ended:
                return
            yield self._request(batch)
        while not self.writer.ending.is_set():
            self.room.acquire()
            with self.lock:
                if self.ended:
                    return
                batch = self.writer.next_batch()
                self.pending.append(batch)
            yield self._request(batch)
            time.sleep(self.writer.dice.uniform(0, 2 * PAUSE_S))

    def end(self):
        """After this no batch becomes pending through this stream."""
        with self.lock:
            self.ended = True
        self.room.release()

    def _request(self, batch):
        return self.pb.StreamPublishEventsRequest(events=[event_proto(self.pb, event) for event in batch])


WRITERS = {"rest": write_rest, "unary": write_unary, "stream": write_stream}
