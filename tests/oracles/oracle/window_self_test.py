"""The two formulations of the rules against each other on small random input; no server."""

import random

from .window_data import Event, Group, every_function
from .window_functions import Nearness, compute
from .window_model import GroupModel, Model, first_live_end, late_table
from .window_naive import simulate, slow_value

# Units of time; the delay is a multiple of the slide or below it, as 10 min are to 1 min, 5 min and 1 h.
SHAPES = [(5, 1, 10), (60, 5, 10), (12, 12, 10), (24, 12, 10), (1, 1, 0), (6, 2, 4)]


def random_events(dice, count, disorder):
    """Out of order by up to `disorder`, with ties, two types and few entities."""
    events, now = [], 1000
    for _ in range(count):
        now += dice.choice((0, 0, 1, 1, 3, 20))
        metadata = {"stock_code": f"s{dice.randrange(4)}", "country": dice.choice(("here", "there"))}
        if dice.random() < 0.5:
            metadata["units"] = dice.randrange(100)
        events.append(Event(f"c{dice.randrange(3)}", dice.choice(("purchase", "purchase", "return")), now - dice.randrange(disorder + 1), dice.randrange(-500, 2000) / 100, metadata))
    return events


def self_test(report, rounds, seed):
    dice = random.Random(seed)
    rows = missed_pairs = stale = 0
    found, values = [], []
    for number in range(rounds):
        size, slide, delay = dice.choice(SHAPES)
        group = Group("g", "purchase", size, slide, 1 << 60, every_function("g"))
        events = random_events(dice, dice.randrange(60), dice.choice((0, 5, 15, 40)))
        model = GroupModel(group, events, delay_us=delay)
        naive, missed = simulate(group, events, delay)
        found += compare_rows(number, model, naive)
        found += compare_newest(number, dice, model, naive)
        rows += len(naive)
        missed_pairs += sum(len(ends) for ends in missed.values())
        stale += model.last_emission < len(events) - 1
        found += compare_told(number, group, events, delay, missed, model)
        values += compare_values(number, group, naive)
    report.check("self test: both formulations give the same rows", not found, f"{rounds} rounds, {rows} rows, {missed_pairs} missed pairs, {len(found)} differences")
    report.check("self test: both formulations give the same values", not values, f"{len(values)} differences")
    for line in (found + values)[:5]:
        print(f"       {line}")
    report.check("self test: something was late, something pending", missed_pairs > 100 and stale > 10, f"{stale} rounds ended with windows pending")
    late_self_test(report)
    join_self_test(report, dice)


def compare_rows(number, model, naive):
    want = {window: events for window, events in naive.items()}
    got = {(entity, end): model.events(entity, end) for entity in model.runs for end in model.ends(entity)}
    return [f"round {number} {w}: {want.get(w)} / {got.get(w)}" for w in want.keys() | got.keys() if want.get(w) != got.get(w)]


def compare_newest(number, dice, model, naive):
    found = []
    for _ in range(10):
        entity, as_of = f"c{dice.randrange(3)}", 990 + dice.randrange(400)
        want = max((end for e, end in naive if e == entity and end <= as_of), default=None)
        got = model.newest_end(entity, as_of)
        if want != got:
            found.append(f"round {number} {entity} as of {as_of}: {want} / {got}")
    return found


def compare_told(number, group, events, delay, missed, model):
    """The model told what was missed, as a late table tells it, is the model that knows the watermark itself."""
    told = GroupModel(group, events, {arrival: max(ends) for arrival, ends in missed.items()}, delay_us=delay)
    same = told.runs == model.runs and all(
        told.events(entity, end) == model.events(entity, end) for entity in model.runs for end in model.ends(entity)
    )
    return [] if same else [f"round {number}: told what was missed, other rows"]


def compare_values(number, group, naive):
    found, nearness = [], Nearness()
    for window, events in naive.items():
        for feature in group.features:
            fast, slow = compute(feature, events), slow_value(feature, events)
            if not nearness.same(feature, fast, slow, events):
                found.append(f"round {number} {window} {feature.name}: {fast} / {slow}")
    if "ceil(qn)-1" not in nearness.ranks_that_fit():
        found.append(f"round {number}: ranks {nearness.ranks}")
    return found


def late_self_test(report):
    """A late event worked out by hand: windows of 3 by 1, closed 10 min after their end."""
    minute = 60_000_000
    group = Group("g", "purchase", 3 * minute, minute, 1 << 60, every_function("g"))
    on_time = Event("a", "purchase", 100 * minute, 1.0, {})
    late, gone = Event("a", "purchase", 88 * minute, 1.0, {}), Event("a", "purchase", 80 * minute, 1.0, {})
    # Watermark 90: the event at 88 lies in windows ending at 89, 90, 91; the one at 80 in 81, 82, 83.
    expected = [(1, late, False, {"g": (89 * minute, 90 * minute, 2)}), (2, gone, True, {"g": (81 * minute, 83 * minute, 3)})]
    report.check("self test: the late table worked out by hand", late_table([group], [on_time, late, gone]) == expected)
    # The window ending at 91 was due before its event came: pending until emission time passes the next minute.
    after = Event("b", "purchase", 101 * minute, 1.0, {})
    for events, ends in (([on_time, late, gone], []), ([on_time, late, gone, after], [91 * minute, 92 * minute, 101 * minute])):
        report.check(f"self test: rows of {len(events)} events worked out by hand", Model([group], events).of("g").ends("a") == ends)


def join_self_test(report, dice):
    """Live rows after a late registration are the whole run's rows from the first live end on, but for the empty one
    that follows a window before it."""
    found = []
    for _ in range(200):
        group = Group("g", "purchase", 6, 2, 1 << 60, every_function("g"))
        events = random_events(dice, 60, 0)
        joins = first_live_end(group, max(e.moment_us for e in events[:30]))
        whole, live = Model([group], events).of("g"), Model([group], events, joins={"g": joins}).of("g")
        for entity in whole.runs:
            want = {end: whole.events(entity, end) for end in whole.ends(entity) if end >= joins}
            got = {end: live.events(entity, end) for end in live.ends(entity)}
            extra = {joins: []} if want.get(joins) == [] else {}
            if want != {**extra, **got}:
                found.append(f"{entity}: {want} / {got}")
    report.check("self test: rows from the first live end on", not found, f"{len(found)} differences")
