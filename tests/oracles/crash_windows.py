#!/usr/bin/env python3
"""`kill -9` amid events, again and again: every window counts every event exactly once.

Three writers publish at once (REST NDJSON, gRPC `PublishEvents`, `StreamPublishEvents` with several requests under
way), every event with an `event_id`, every batch again until it is acknowledged. At seeded random moments the server is
killed (every fifth time once more while it starts) and started on the same directory. At the end one far event of each
type closes all windows, and every row of every entity is compared with a recomputation over all events.

    python3 crash_windows.py --larder target/release/larder [--kills 50] [--seed 1]
    python3 crash_windows.py --larder target/release/larder --large      # restart with 100 000 entities × 10 panes
"""

import argparse
import pathlib
import random
import shutil
import sys
import tempfile
import threading
import time

from oracle import window_check as check
from oracle import window_crash as crash
from oracle import window_data as data
from oracle import window_feed as feed
from oracle.moments import format_us
from oracle.report import Report
from oracle.rest import NDJSON, Rest
from oracle.server import Server
from oracle.window_functions import Nearness
from oracle.window_model import Model

RESTART_S_MAX = 60
LARGE_RESTART_S_MAX = 2.0
LARGE_RESTARTS = 5
LARGE_HOURS = 10
LARGE_BATCH = 10_000
SAMPLE = 200


def restart(server):
    """Seconds from the start of the process until it is ready and has counted everything."""
    started = time.monotonic()
    server.start()
    client = Rest(server.url, server.key, timeout_s=30)
    while (lag := sum(int(stream["lag"]) for stream in feed.streams(client))) and time.monotonic() - started < RESTART_S_MAX:
        time.sleep(0.005)
    seconds = time.monotonic() - started
    client.close()
    if lag:
        raise RuntimeError(f"lag {lag} after {seconds:.1f} s")
    return seconds


# --- kills amid events ----------------------------------------------------------------------------------------------

def kills(server, arguments, report):
    dice, groups = random.Random(arguments.seed), crash.groups()
    client = Rest(server.url, server.key)
    for body in data.registrations(groups):
        client.good("POST", "/features/register", body)
    gate = threading.Event()
    gate.set()
    server.deaths, server.back_at = 0, 0.0
    writers = [crash.Writer(name, server, gate, arguments.seed) for name in crash.WRITERS]
    for writer in writers:
        writer.start()
    times = []
    for number in range(arguments.kills):
        time.sleep(dice.uniform(0.05, 1.5))
        if failures := [w.failure for w in writers if w.failure]:
            report.check(f"before kill {number}", False, failures)
            break
        gate.clear()
        server.deaths, server.back_at = server.deaths + 1, float("inf")
        server.kill()
        if number % 5 == 4:
            server.spawn()
            time.sleep(dice.uniform(0.0, 0.15))
            server.kill()
        times.append(restart(server))
        published = sum(len(writer.events) for writer in writers)
        print(f"     kill {number}: ready with lag 0 after {times[-1] * 1000:.0f} ms, {published} events so far", flush=True)
        server.back_at = time.monotonic()
        gate.set()
    for writer in writers:
        failure = writer.stop()
        report.check(f"{writer.name}: every batch acknowledged", not failure, failure or f"{len(writer.events)} events, {writer.batches} batches, {writer.retried} sent again, {writer.duplicates} duplicates")
    if times:
        report.check(f"{len(times)} restarts", True, f"median {sorted(times)[len(times) // 2] * 1000:.0f} ms, maximum {max(times) * 1000:.0f} ms")
    judge_windows(server, groups, writers, report)


def judge_windows(server, groups, writers, report):
    client = Rest(server.url, server.key)
    events = [event for writer in writers for event in writer.events]
    closers = data.closing_events(events)
    for closer in closers:
        answer = client.good("POST", "/events", closer.json()).json()
        report.equal(f"closing event of {closer.event_type}", (1, 0, 0), (answer["accepted"], answer["unused"], answer["late"]))
    report.equal("lag at the end", 0, feed.settle(client))
    now = feed.ledger(client)
    report.check("ledger: each event counted exactly once", feed.balanced(now) and now["counted"] == len(events) + len(closers) and now["late"] == now["unused"] == now["dead"] == 0, f"{now}, {len(events) + len(closers)} events")
    # Nothing is late: what arrived when does not matter, so the writers' events may stand one after another.
    model = Model(groups, events + closers, missed={})
    judge, total = check.Judge(model, Nearness()), dict.fromkeys(("windows", "missing rows", "rows too many", "missing", "double"), 0)
    for group in groups:
        entities = sorted({e.entity for e in events if e.event_type == group.event_type})
        different = compare_counts(client, model.of(group.name), entities, total)
        report.differences(f"{group.name}: counts of {len(entities)} entities", len(entities), different)
        spine = sorted((end, entity) for entity in entities for end in model.of(group.name).ends(entity))
        found, _ = check.training_set(client, judge, group, [(entity, end) for end, entity in spine])
        report.differences(f"{group.name}: every value of {len(spine)} windows", len(spine), found)
    report.check("0 missing, 0 double", not any(total[name] for name in total if name != "windows"), total)
    report.equal("dead letters", [], client.good("GET", "/admin/dead-letters").json()["dead_letters"])
    report.equal("late events", [], check.read_late_table(client))
    report.check("no panic in the log", "panicked" not in server.log())


def compare_counts(client, variant, entities, total):
    """Adds up what is missing and what is double, in rows and in events."""
    different = []
    for entity in entities:
        got = check.newest_of_each(check.history(client, variant.group.features[0].name, entity))
        want = {end: len(variant.events(entity, end)) for end in variant.ends(entity)}
        total["windows"] += len(want)
        total["missing rows"] += len(want.keys() - got.keys())
        total["rows too many"] += len(got.keys() - want.keys())
        for end in sorted(want.keys() | got.keys()):
            wanted, found = want.get(end, 0), got.get(end, 0)
            total["missing"] += max(0, wanted - found)
            total["double"] += max(0, found - wanted)
            if want.get(end) != got.get(end):
                different.append(f"{entity} {format_us(end)}: {want.get(end)} -> {got.get(end)}")
    return different


# --- a large state --------------------------------------------------------------------------------------------------

def large_events(entities):
    """One event an entity and hour, in the first 40 minutes of it: no multiple of the slide passes while we look."""
    for hour in range(LARGE_HOURS):
        for i in range(entities):
            moment_us = crash.START_US + hour * data.HOUR_US + i * 40 * data.MINUTE_US // entities
            yield data.Event(f"large-{i}", "large", moment_us, float(i % 1000 + hour), {})


def large(server, arguments, report):
    prefix = "large_7d"
    features = tuple(f for f in data.every_function(prefix) if f.function in ("count", "sum", "max", "last") and f.field in (None, "value"))
    group = data.Group(prefix, "large", 7 * data.DAY_US, data.HOUR_US, 30 * data.DAY_US, features)
    client = Rest(server.url, server.key)
    for body in data.registrations([group]):
        client.good("POST", "/features/register", body)
    sample = {f"large-{i}" for i in random.Random(arguments.seed).sample(range(arguments.large_entities), min(SAMPLE, arguments.large_entities))}
    kept, started, batch = [], time.monotonic(), []
    for event in large_events(arguments.large_entities):
        batch.append(event)
        if event.entity in sample:
            kept.append(event)
        if len(batch) == LARGE_BATCH:
            send_large(client, batch)
            batch = []
    last = event
    send_large(client, batch)
    report.equal("lag after loading", 0, feed.settle(client))
    print(f"     {arguments.large_entities * LARGE_HOURS} events in {time.monotonic() - started:.1f} s; {feed.streams(client)}", flush=True)
    times = []
    for number in range(LARGE_RESTARTS):
        # Something new at the end of the log each time, killed at once: the state is not just what was saved last.
        fresh = data.Event(sorted(sample)[number], "large", last.moment_us, 1.0, {})
        kept.append(fresh)
        send_large(client, [fresh])
        server.kill()
        times.append(restart(server))
        print(f"     restart {number}: ready with lag 0 after {times[-1] * 1000:.0f} ms, {server.memory_mib():.0f} MiB", flush=True)
        client = Rest(server.url, server.key)
    report.check(f"restart within {LARGE_RESTART_S_MAX} s", max(times) <= LARGE_RESTART_S_MAX, f"maximum {max(times) * 1000:.0f} ms")
    model = Model([group], kept, elapsed_us=lambda: int((time.monotonic() - started) * 1e6))
    judge = check.Judge(model, Nearness())
    found = [line for entity in sorted(sample) for line in check.history_problems(client, judge, group, entity)]
    report.differences(f"histories of {len(sample)} entities", len(sample), found)
    now = feed.ledger(client)
    report.check("ledger", feed.balanced(now) and now["counted"] == arguments.large_entities * LARGE_HOURS + LARGE_RESTARTS, now)


def send_large(client, batch):
    if not batch:
        return
    body = "".join(
        f'{{"entity_id":"{e.entity}","event_type":"large","value":{e.value},"timestamp":"{format_us(e.moment_us)}","metadata":{{}}}}\n' for e in batch
    ).encode()
    answer = client.good("POST", "/events", body, {"Content-Type": NDJSON}).json()
    if (answer["accepted"], answer["unused"], answer["late"]) != (len(batch), 0, 0):
        raise ValueError(f"{len(batch)} events: {str(answer)[:300]}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--larder", required=True, help="the binary")
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--large", action="store_true", help="first a large state and its restart")
    parser.add_argument("--large-entities", type=int, default=100_000)
    arguments = parser.parse_args()
    report = Report()
    directory = pathlib.Path(tempfile.mkdtemp(prefix="larder-crash-windows-"))
    try:
        for name, part in (("large", large), ("kills", kills))[0 if arguments.large else 1:]:
            with Server(arguments.larder, directory / name) as server:
                report.attempt(name, lambda s=server, p=part: p(s, arguments, report))
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    return report.finish()


if __name__ == "__main__":
    sys.exit(main())
