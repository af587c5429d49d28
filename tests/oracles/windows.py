#!/usr/bin/env python3
"""Windowed features over real purchases, judged by brute force from the rules (SEMANTICS 10 to 15).

    python3 windows.py FILE.csv.gz --larder target/release/larder [--via grpc] [--only file,backfill]
    python3 windows.py FILE.csv.gz --self-test         # no server: two formulations of the rules against each other

Each scenario has a server of its own:
- file       the events in file order; training sets, histories, and the ledger at random moments
- open       out of order by up to 9 minutes, stopped at some moments: windows due and changed wait for the next multiple
             of their slide, and say until then what they said before
- shuffle9   out of order by up to 9 minutes: nothing is late, the values are those of all events
- shuffle30  up to 30 minutes: the late table is as computed, and leaving out what it names explains every value
- backfill   half the events, then the registration, then the other half: the same history as registered first
- ids        half of the batches sent twice under the same event ids
"""

import argparse
import pathlib
import random
import shutil
import sys
import tempfile
import time
from contextlib import contextmanager
from dataclasses import replace

from oracle import window_check as check
from oracle import window_data as data
from oracle import window_feed as feed
from oracle.moments import format_us, parse_us
from oracle.report import Report
from oracle.rest import Rest
from oracle.server import Server
from oracle.window_functions import Nearness
from oracle.window_model import Model, first_live_end, late_table
from oracle.window_self_test import self_test

MINUTE_US = data.MINUTE_US
# What is added to the moment of an event before its windows are read: the windows end later.
OFFSETS_US = {
    data.BUY_5M: (MINUTE_US, 3 * MINUTE_US + 30_000_000, 7 * MINUTE_US),
    data.BUY_1H: (7 * MINUTE_US + 30_000_000, 61 * MINUTE_US, 66 * MINUTE_US),
    data.BUY_7D: (61 * MINUTE_US, 2 * data.DAY_US, 7 * data.DAY_US + 30 * MINUTE_US),
    data.BACK_5M: (MINUTE_US, 4 * MINUTE_US, 90 * MINUTE_US),
    data.BACK_7D: (61 * MINUTE_US, 9 * data.DAY_US),
}
UNUSED_EVENTS = 100
BACKFILL_S_MAX = 120
STOPS = 5
RECENT_ENDS = 16


class Run:
    def __init__(self, arguments, report):
        self.arguments, self.report = arguments, report
        self.events = data.retail_events(arguments.file, arguments.limit)
        self.nearness = Nearness()
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="larder-windows-"))

    @contextmanager
    def server(self, name):
        with Server(self.arguments.larder, self.directory / name) as server:
            yield server, Rest(server.url, server.key)
            self.report.equal(f"{name}: drains and exits", 0, server.stop())
            self.report.check(f"{name}: no panic in the log", "panicked" not in server.log())

    def register(self, title, client, groups, start=None):
        wanted = [feature for group in groups for feature in group.features]
        got = []
        for body in data.registrations(groups, start):
            got += client.good("POST", "/features/register", body).json()["features"]
        self.report.equal(f"{title}: windowed features registered", len(wanted), len(got))

    def publish(self, title, server, batches):
        """All batches, with the ledger watched. Returns the sums of the answers."""
        sums, counters = feed.Sums(), {"sent": 0, "answered": 0}
        client = Rest(server.url, server.key)
        base = feed.ledger(client)
        publisher = self.publisher(server)
        started = time.monotonic()
        with feed.LedgerWatch(server, counters, self.arguments.seed) as watch:
            feed.WAYS[self.arguments.via](publisher, batches, sums, counters)
        seconds = time.monotonic() - started
        publisher.close()
        self.report.equal(f"{title}: lag after publishing", 0, feed.settle(client))
        self.report.equal(f"{title}: events accepted via {self.arguments.via} in {seconds:.1f} s", counters["sent"], sums.accepted)
        self.report.equal(f"{title}: rejected", [], sums.rejected[:3])
        now = feed.ledger(client)
        self.report.equal(f"{title}: the ledger is the sum of the answers", sums.as_ledger(), {name: now[name] - base[name] for name in now})
        self.report.differences(f"{title}: the ledger added up at {watch.samples} random moments", watch.samples, watch.problems)
        return sums

    def publisher(self, server):
        if self.arguments.via == "rest":
            return Rest(server.url, server.key)
        from oracle.stubs import Grpc

        return Grpc(server.url, server.key)

    # --- reading back ---

    def read(self, title, client, judge, groups, whole_spine=False):
        """Training sets at and after the moments of purchases and returns, then histories."""
        for group in groups:
            ours = [(e.entity, e.moment_us) for e in self.events if e.event_type in (group.event_type, "purchase")]
            few = sorted(set(ours), key=lambda row: (row[1], row[0]))
            for number, offset in enumerate((0, *OFFSETS_US[group])):
                spine = [(entity, us + offset) for entity, us in (ours if whole_spine and number < 2 else few)]
                what = f"{title}: {group.name} of {len(spine)} rows, {offset / MINUTE_US:g} min after"
                answer = self.report.attempt(what, lambda g=group, s=spine: check.training_set(client, judge, g, s))
                if answer:
                    found, statuses = answer
                    self.report.differences(f"{what} {statuses}", len(spine), found)
        self.histories(title, client, judge, groups)

    def histories(self, title, client, judge, groups):
        """The ends of every entity's windows by their counts; some entities by every feature."""
        entities = sorted({event.entity for event in self.events})
        some = random.Random(self.arguments.seed).sample(entities, min(self.arguments.entities, len(entities)))
        for group in groups:
            for what, chosen, features in (("count of every entity", entities, group.features[:1]), ("every feature of some", some, group.features)):
                def problems(c=chosen, f=features, g=group):
                    return [line for entity in c for line in check.history_problems(client, judge, g, entity, f)]
                found = self.report.attempt(f"{title}: history of {group.name}", problems)
                if found is not None:
                    self.report.differences(f"{title}: history of {group.name}, {what}", len(chosen), found)

    def late_table(self, title, client, groups, events):
        """Read by two page sizes and compared with what the watermark says."""
        want = late_table(groups, events)
        got = self.report.attempt(f"{title}: late table", lambda: check.read_late_table(client))
        if got is None:
            return None
        rows = [check.late_row(row) for row in got]
        whole = sum(row[4] for row in rows)
        self.report.differences(f"{title}: late table ({whole} missed all)", len(want), check.late_differences(rows, want))
        if 0 < len(got) <= 5000:
            self.report.equal(f"{title}: late table by pages of 7", True, check.read_late_table(client, 7) == got)
        return got

    # --- scenarios ---

    def file(self):
        """File order, which is the order of time; nothing closes the last windows."""
        title = "file"
        dice = random.Random(self.arguments.seed)
        events = list(self.events)
        for _ in range(UNUSED_EVENTS):
            like = dice.choice(self.events)
            events.insert(dice.randrange(len(events)), replace(like, event_type="browse"))
        with self.server(title) as (server, client):
            self.register(title, client, data.GROUPS)
            started = time.monotonic()
            sums = self.publish(title, server, feed.cut(events, self.arguments.seed))
            self.report.equal(f"{title}: unused, late, duplicate", (UNUSED_EVENTS, self.late_count(data.GROUPS, events), 0), (sums.unused, sums.late, sums.duplicate))
            model = Model(data.GROUPS, events, elapsed_us=lambda: int((time.monotonic() - started) * 1e6))
            self.read(title, client, check.Judge(model, self.nearness), data.GROUPS, whole_spine=True)
            self.late_table(title, client, data.GROUPS, events)

    def late_count(self, groups, events):
        return sum(whole for _, _, whole, _ in late_table(groups, events))

    def open(self):
        title, seed = "open", self.arguments.seed
        events = data.shuffled(self.events, 9 * MINUTE_US, seed)
        stops = pending_stops(events, seed)
        with self.server(title) as (server, client):
            self.register(title, client, data.GROUPS)
            for number, (start, stop) in enumerate(zip([0, *stops], stops)):
                began = time.monotonic()
                self.publish(f"{title} {number}", server, feed.cut(events[start:stop], seed))
                model = Model(data.GROUPS, events[:stop], elapsed_us=lambda b=began: int((time.monotonic() - b) * 1e6))
                judge = check.Judge(model, self.nearness)
                entities = sorted({event.entity for event in events[max(0, stop - 400):stop]})
                for group in data.GROUPS:
                    spine = recent_ends(model.of(group.name), entities)
                    answer = self.report.attempt(f"{title} {number}: {group.name}", lambda g=group, s=spine: check.training_set(client, judge, g, s))
                    if answer:
                        self.report.differences(f"{title} {number}: {group.name} at the last ends ({model.of(group.name).pending()} events pending)", len(spine), answer[0])

    def shuffle9(self):
        title = "shuffle9"
        events = data.shuffled(self.events, 9 * MINUTE_US, self.arguments.seed) + data.closing_events(self.events)
        with self.server(title) as (server, client):
            self.register(title, client, data.GROUPS)
            sums = self.publish(title, server, feed.cut(events, self.arguments.seed))
            self.report.equal(f"{title}: unused, late, duplicate", (0, 0, 0), (sums.unused, sums.late, sums.duplicate))
            # Told that nothing was missed: every value is that of all events, whatever the order.
            model = Model(data.GROUPS, events, missed={})
            self.read(title, client, check.Judge(model, self.nearness), data.GROUPS)
            self.late_table(title, client, data.GROUPS, events)

    def shuffle30(self):
        for title, groups in (("shuffle30", data.GROUPS), ("shuffle30 short", data.SHORT_GROUPS)):
            shuffled = data.shuffled(data.with_ids(self.events), 30 * MINUTE_US, self.arguments.seed)
            events = shuffled + data.closing_events(self.events)
            with self.server(title.replace(" ", "-")) as (server, client):
                self.register(title, client, groups)
                sums = self.publish(title, server, feed.cut(events, self.arguments.seed))
                late = self.late_count(groups, events)
                self.report.equal(f"{title}: unused, late, duplicate", (0, late, 0), (sums.unused, sums.late, sums.duplicate))
                table = self.late_table(title, client, groups, events)
                if table is not None:
                    model = Model(groups, events, missed=self.named_missed(table, events))
                    self.read(title, client, check.Judge(model, self.nearness), groups)

    def named_missed(self, table, events):
        """{group: {arrival: last end missed}} of exactly what the late table names."""
        arrivals = {(event.entity, event.event_id): arrival for arrival, event in enumerate(events)}
        missed = {}
        for row in table:
            entity, _, _, event_id, _, groups = check.late_row(row)
            for group, (_, last, _) in groups.items():
                missed.setdefault(group, {})[arrivals[entity, event_id]] = last
        return missed

    def backfill(self):
        events = data.in_time_order(self.events)
        half = len(events) // 2
        events += data.closing_events(self.events)
        first, rest = events[:half], events[half:]
        greatest_us = max(event.moment_us for event in first)
        joins = {group.name: first_live_end(group, greatest_us) for group in data.GROUPS}
        judge = check.Judge(Model(data.GROUPS, events), self.nearness)
        with self.server("registered-first") as (server, client), self.server("backfill") as (late_server, late_client):
            self.register("registered first", client, data.GROUPS)
            self.publish("registered first", server, feed.cut(events, self.arguments.seed))
            sums = self.publish("backfill, first half", late_server, feed.cut(first, self.arguments.seed))
            self.report.equal("backfill, first half: all unused", len(first), sums.unused)
            self.register("backfill", late_client, data.GROUPS, start="earliest")
            sums = self.publish("backfill, second half", late_server, feed.cut(rest, self.arguments.seed))
            before = sum(all(joined > last_end(group, event) for group, joined in self.joined(joins, event)) for event in rest)
            self.report.equal("backfill, second half: unused before the first live window", before, sums.unused)
            self.report.attempt("backfill done", lambda: self.await_backfills(late_client, joins))
            self.report.attempt("backfill: same histories", lambda: self.same_histories(client, late_client, events, half))
            self.histories("backfill against brute force", late_client, judge, data.GROUPS)
        self.start_now(events, first, rest, joins)

    def joined(self, joins, event):
        return [(group, joins[group.name]) for group in data.GROUPS if group.event_type == event.event_type]

    def await_backfills(self, client, joins):
        deadline = time.monotonic() + BACKFILL_S_MAX
        while True:
            backfills = client.good("GET", "/admin/backfills").json()["backfills"]
            if backfills and all(b["done"] for b in backfills) or time.monotonic() > deadline:
                break
            time.sleep(0.1)
        self.report.check("backfill: all done", backfills and all(b["done"] for b in backfills), f"{len(backfills)} backfills")
        covered = sorted(name for b in backfills for name in b["groups"])
        self.report.equal("backfill: every group once", sorted(joins), covered)
        for b in backfills:
            ledger = {name: int(b["ledger"].get(name, 0)) for name in ("produced", *feed.LEDGER)}
            self.report.check(f"backfill of {', '.join(b['groups'])}: its ledger adds up", feed.balanced(ledger), ledger)
            expected = {joins[name] for name in b["groups"]}
            if len(expected) == 1:
                self.report.equal(f"backfill of {', '.join(b['groups'])}: joins at", format_us(expected.pop()), format_us(parse_us(b["joins_at"])))

    def same_histories(self, client, late_client, events, half):
        """Events come in order of time, so nothing is emitted twice: each end must stand there once, on both servers."""
        both = sorted({e.entity for e in events[:half]} & {e.entity for e in events[half:]})
        chosen = random.Random(self.arguments.seed).sample(both, min(self.arguments.entities, len(both)))
        for group in data.GROUPS:
            different, twice = [], []
            for entity in chosen:
                for feature in group.features:
                    whole, filled = (check.history(c, feature.name, entity) for c in (client, late_client))
                    for name, rows in (("registered first", whole), ("backfilled", filled)):
                        if len({moment for moment, _ in rows}) != len(rows):
                            twice.append(f"{entity} {feature.name} {name}: {len(rows)} rows")
                    want, got = check.newest_of_each(whole), check.newest_of_each(filled)
                    ends = [end for end in want.keys() | got.keys() if end not in got or end not in want or want[end] != got[end]]
                    different += [f"{entity} {feature.name} {format_us(e)}: {want.get(e, 'no row')} / {got.get(e, 'no row')}" for e in sorted(ends)[:3]]
            self.report.differences(f"backfill: {group.name} as if registered first", len(chosen), different)
            self.report.differences(f"backfill: {group.name}, each window end once", len(chosen), twice)

    def start_now(self, events, first, rest, joins):
        """Without backfill: rows from the first live window on, complete ones only."""
        title = "start now"
        with self.server("start-now") as (server, client):
            self.publish(f"{title}, first half", server, feed.cut(first, self.arguments.seed))
            self.register(title, client, data.GROUPS, start="now")
            self.publish(f"{title}, second half", server, feed.cut(rest, self.arguments.seed))
            self.histories(title, client, check.Judge(Model(data.GROUPS, events, joins=joins), self.nearness), data.GROUPS)
            self.report.equal(f"{title}: backfills", [], client.good("GET", "/admin/backfills").json()["backfills"])

    def ids(self):
        """Ids are an entity's own: every entity uses the same ones."""
        title = "ids"
        dice = random.Random(self.arguments.seed)
        events = data.with_ids(self.events) + data.closing_events(self.events)
        batches, repeated = [], 0
        for batch in feed.cut(events, self.arguments.seed):
            batches.append(batch)
            if dice.random() < 0.5:
                again = batch if dice.random() < 0.5 else dice.choice(batches)
                batches.append(again)
                repeated += len(again)
        with self.server(title) as (server, client):
            self.register(title, client, data.GROUPS)
            sums = self.publish(title, server, batches)
            self.report.equal(f"{title}: unused, late, duplicate", (0, 0, repeated), (sums.unused, sums.late, sums.duplicate))
            self.read(title, client, check.Judge(Model(data.GROUPS, events), self.nearness), data.GROUPS)

    def percentile_ranks(self):
        if self.nearness.percentiles:
            self.report.check("one definition of a percentile's rank fits every cell", bool(self.nearness.ranks_that_fit()), f"{self.nearness.ranks_that_fit()} of {self.nearness.percentiles} cells: {self.nearness.ranks}")


def last_end(group, event):
    return event.moment_us // group.slide_us * group.slide_us + group.size_us


def pending_stops(events, seed):
    """Numbers of events after which something waits for the next minute, or for the next hour."""
    dice, greatest, waiting = random.Random(seed), 0, {MINUTE_US: [], data.HOUR_US: []}
    for number, event in enumerate(events, start=1):
        if event.event_type == "purchase":
            for slide_us, stops in waiting.items():
                if (event.moment_us // slide_us + 1) * slide_us <= greatest:
                    stops.append(number)
            greatest = max(greatest, event.moment_us)
    return sorted({stop for stops in waiting.values() for stop in dice.sample(stops, min(STOPS, len(stops)))})


def recent_ends(variant, entities):
    """(entity, end) for the ends around the greatest event timestamp, the next one included."""
    if variant.greatest_us is None:
        return []
    slide = variant.group.slide_us
    newest = variant.greatest_us // slide * slide
    return [(entity, newest - back * slide) for back in range(-1, RECENT_ENDS) for entity in entities]


SCENARIOS = ("file", "open", "shuffle9", "shuffle30", "backfill", "ids")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file")
    parser.add_argument("--larder", help="start this binary, once a scenario, with data directories of its own")
    parser.add_argument("--via", choices=list(feed.WAYS), default="rest", help="rest: NDJSON bodies; grpc: StreamPublishEvents")
    parser.add_argument("--only", default=",".join(SCENARIOS), help=f"some of {', '.join(SCENARIOS)}")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--limit", type=int, help="only the first lines")
    parser.add_argument("--entities", type=int, default=12, help="entities whose every feature's history is read")
    parser.add_argument("--self-test", action="store_true", help="no server")
    parser.add_argument("--rounds", type=int, default=500, help="of the self test")
    arguments = parser.parse_args()
    report = Report()
    if arguments.self_test:
        self_test(report, arguments.rounds, arguments.seed)
        return report.finish()
    if not arguments.larder:
        parser.error("either --larder or --self-test")
    chosen = arguments.only.split(",")
    if unknown := set(chosen) - set(SCENARIOS):
        parser.error(f"no scenario {', '.join(unknown)}")
    run = Run(arguments, report)
    try:
        for name in chosen:
            report.attempt(name, getattr(run, name))
        run.percentile_ranks()
    finally:
        shutil.rmtree(run.directory, ignore_errors=True)
    return report.finish()


if __name__ == "__main__":
    sys.exit(main())
