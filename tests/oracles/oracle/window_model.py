"""What the rules of windows say, computed from intervals of window ends.

An event at t lies in the windows that end from the first multiple of the slide after t up to that + size − slide. It
counts in those still open when it comes, so an event that comes late misses the *first* of its ends: what it counts in
is an interval `[first end, last end]` again. An entity has a row at every end of such an interval and at the one
directly after it. The row is emitted once emission time reaches the end; while its window is open, what came since
emission time last passed a multiple of the slide is pending.

    pane of t     |---t--|
    ends                 1      2      3      4(empty)
    watermark               ^ the event comes: it misses 1, counts in 2 and 3
"""

from bisect import bisect_left, bisect_right
from collections import defaultdict
from dataclasses import dataclass

from .window_data import DELAY_US


@dataclass(frozen=True, slots=True)
class Placed:
    """An event in a group: its arrival, and the ends at which it counts. `first_end > last_end` = it missed all."""

    moment_us: int
    arrival: int
    first_end: int
    last_end: int
    event: object


def ends_of(moment_us, size_us, slide_us):
    first = (moment_us // slide_us + 1) * slide_us
    return first, first + size_us - slide_us


def first_live_end(group, greatest_us):
    """The end of the first window that starts strictly after the greatest event timestamp before the registration."""
    return (greatest_us // group.slide_us + 1) * group.slide_us + group.size_us


def watermarks(events, delay_us=DELAY_US):
    """For each event the watermark of its source before it is counted (None = there is none yet)."""
    greatest, before = {}, []
    for event in events:
        seen = greatest.get(event.event_type)
        before.append(None if seen is None else seen - delay_us)
        greatest[event.event_type] = event.moment_us if seen is None else max(seen, event.moment_us)
    return before


def missed_ends(event, watermark_us, group):
    """(first, last, count) of the window ends that were closed when the event came, or None."""
    first, last = ends_of(event.moment_us, group.size_us, group.slide_us)
    if watermark_us is None or first > watermark_us:
        return None
    last = min(last, watermark_us // group.slide_us * group.slide_us)
    return first, last, (last - first) // group.slide_us + 1


class GroupModel:
    """The rows of one group after all events.

    `missed`: by arrival the last end missed, where somebody else says so (the late table); otherwise by the watermark.
    `passed_us`: log time since the last event, as far as emission time has moved by it.
    `joins_us`: the end of the first live window, for features that count from there on.
    """

    def __init__(self, group, events, missed=None, delay_us=DELAY_US, passed_us=0, joins_us=None):
        self.group = group
        slide = group.slide_us
        before = watermarks(events, delay_us)
        greatest, last_multiple, last_emission = None, None, -1
        placed = []
        for arrival, event in enumerate(events):
            if event.event_type != group.event_type:
                continue
            first, last = ends_of(event.moment_us, group.size_us, slide)
            if missed is not None:
                first = max(first, missed.get(arrival, first - slide) + slide)
            elif before[arrival] is not None:
                first = max(first, before[arrival] // slide * slide + slide)
            if joins_us is not None:
                first = max(first, joins_us)
            placed.append((event.entity, Placed(event.moment_us, arrival, first, last, event)))
            greatest = event.moment_us if greatest is None else max(greatest, event.moment_us)
            if last_multiple is None or greatest // slide > last_multiple:
                last_multiple, last_emission = greatest // slide, arrival
        self.entities = defaultdict(list)
        for entity, item in placed:
            if item.first_end <= item.last_end:
                self.entities[entity].append(item)
        for items in self.entities.values():
            items.sort(key=lambda item: (item.moment_us, item.arrival))
        self.moments = {entity: [item.moment_us for item in items] for entity, items in self.entities.items()}
        self.greatest_us = greatest
        self.emission_us = None if greatest is None else greatest + passed_us
        self.watermark_us = None if greatest is None else greatest - delay_us
        self.last_emission = last_emission
        if greatest is not None and self.emission_us // slide > last_multiple:
            self.last_emission = len(events)
        self.runs = {entity: self._runs(items) for entity, items in self.entities.items()}
        self.cached = {}

    def _emitted(self, item, end):
        return end <= self.watermark_us or item.arrival <= self.last_emission

    def pending(self):
        """Events that some open window has counted but that no emission has shown yet, though its end is due."""
        return sum(
            item.arrival > self.last_emission and max(item.first_end, self.watermark_us + 1) <= min(item.last_end, self.emission_us // self.group.slide_us * self.group.slide_us)
            for items in self.entities.values() for item in items
        )

    def _runs(self, items):
        """The ends of an entity's rows as disjoint [first, last], ascending."""
        slide = self.group.slide_us
        spans = []
        for item in items:
            last = item.last_end + slide
            if item.arrival > self.last_emission:
                last = min(last, self.watermark_us // slide * slide)
            last = min(last, self.emission_us // slide * slide)
            if item.first_end <= last:
                spans.append((item.first_end, last))
        runs = []
        for first, last in sorted(spans):
            if runs and first <= runs[-1][1] + slide:
                runs[-1][1] = max(runs[-1][1], last)
            else:
                runs.append([first, last])
        return runs

    def ends(self, entity):
        """Every row's end, ascending."""
        return [end for first, last in self.runs.get(entity, ()) for end in range(first, last + 1, self.group.slide_us)]

    def newest_end(self, entity, as_of_us):
        """The greatest end of a row at or before the moment, or None."""
        runs = self.runs.get(entity, ())
        end = as_of_us // self.group.slide_us * self.group.slide_us
        i = bisect_right(runs, end, key=lambda run: run[0])
        return min(end, runs[i - 1][1]) if i else None

    def events(self, entity, end):
        """What the row at this end counts, by (timestamp, arrival)."""
        found = self.cached.get((entity, end))
        if found is None:
            moments = self.moments[entity]
            start, stop = bisect_left(moments, end - self.group.size_us), bisect_left(moments, end)
            found = [
                item.event for item in self.entities[entity][start:stop]
                if item.first_end <= end <= item.last_end and self._emitted(item, end)
            ]
            self.cached[entity, end] = found
        return found


class Model:
    """All groups. `elapsed_us` tells how much real time has passed since the greatest event came; left out, none has
    (every window that matters is closed). `joins`: by group the first live end, where features start late."""

    def __init__(self, groups, events, missed=None, elapsed_us=lambda: 0, joins=None):
        self.groups, self.events = {group.name: group for group in groups}, events
        self.missed, self.elapsed_us, self.joins = missed, elapsed_us, joins or {}
        self.built = {}

    def variant(self, name, passed_us):
        if (name, passed_us) not in self.built:
            missed = None if self.missed is None else self.missed.get(name, {})
            self.built[name, passed_us] = GroupModel(
                self.groups[name], self.events, missed, passed_us=passed_us, joins_us=self.joins.get(name)
            )
        return self.built[name, passed_us]

    def of(self, name):
        """The state when no time has passed: the only one unless the clock struck a multiple of the slide meanwhile."""
        return self.variant(name, 0)

    def variants(self, name):
        """The states that real time may have led to by now, earliest first."""
        yield self.of(name)
        slide, greatest = self.groups[name].slide_us, self.of(name).greatest_us
        if greatest is not None:
            yield from (self.variant(name, us) for us in range(slide - greatest % slide, self.elapsed_us() + 1, slide))


def late_table(groups, events):
    """What `GET /admin/late-events` must hold: (arrival, event, missed all, {group: (first, last, count)}) by arrival.

    Only groups of the event's own type take it."""
    rows = []
    for arrival, (event, watermark_us) in enumerate(zip(events, watermarks(events))):
        ours = [group for group in groups if group.event_type == event.event_type]
        missed = {group.name: found for group in ours if (found := missed_ends(event, watermark_us, group))}
        if missed:
            whole = all(g.name in missed and missed[g.name][2] == g.size_us // g.slide_us for g in ours)
            rows.append((arrival, event, whole, missed))
    return rows
