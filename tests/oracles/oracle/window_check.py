"""Answers of a server against the model: cells of training sets, rows of histories, the late table."""

import json

from . import rest
from .moments import format_us, parse_us
from .window_functions import compute

NOT_FOUND, OUTSIDE_MAX_AGE, NULL_VALUE, PRESENT = "NOT_FOUND", "OUTSIDE_MAX_AGE", "NULL_VALUE", "PRESENT"


class Judge:
    """One model, one way to say what is near enough, and computed values kept per (variant, entity, window)."""

    def __init__(self, model, nearness):
        self.model, self.nearness = model, nearness
        self.computed = {}

    def values(self, variant, entity, end):
        """[(feature, value)], and the events they come from."""
        key = (id(variant), entity, end)
        if key not in self.computed:
            events = variant.events(entity, end)
            self.computed[key] = ([(feature, compute(feature, events)) for feature in variant.group.features], events)
        return self.computed[key]

    def row_problems(self, variant, entity, end, got):
        """`got`: {feature name: value} of a row that is there."""
        values, events = self.values(variant, entity, end)
        return [
            f"{feature.name}: {_short(want)} -> {got[feature.name]!r} ({len(events)} events)"
            for feature, want in values
            if feature.name in got and not self.nearness.same(feature, want, got[feature.name], events)
        ]

    def cell_problems(self, group, entity, as_of_us, cells):
        """`cells`: {feature name: (status, value, event timestamp)}; any state that real time allows will do."""
        first = None
        for variant in self.model.variants(group.name):
            problems = self._cell_problems(variant, entity, as_of_us, cells)
            if not problems:
                return []
            first = first or problems
        return first

    def _cell_problems(self, variant, entity, as_of_us, cells):
        group = variant.group
        end = variant.newest_end(entity, as_of_us)
        if end is None or end <= as_of_us - group.ttl_us:
            want = (NOT_FOUND, None, None) if end is None else (OUTSIDE_MAX_AGE, None, end)
            return [f"{f.name}: {want} -> {cells[f.name]}" for f in group.features if cells[f.name] != want]
        values, events = self.values(variant, entity, end)
        problems = []
        for feature, want in values:
            status, got, moment = cells[feature.name]
            want_status = NULL_VALUE if want is None else PRESENT
            if (status, moment) != (want_status, end) or not self.nearness.same(feature, want, got, events):
                problems.append(f"{feature.name}: {want_status} {_short(want)} at {format_us(end)} ({len(events)} events) -> {status} {got!r} {moment and format_us(moment)}")
        return problems


def _short(want):
    """A percentile's expectation is all its values: show their number only."""
    is_long = isinstance(want, list) and len(want) > 10
    return f"a rank or list of {len(want)} values" if is_long else repr(want)


def training_set(client, judge, group, spine):
    """One NDJSON call for one group over (entity, moment) rows. Returns (differences, count of each status)."""
    names = [feature.name for feature in group.features]
    lines = [json.dumps({"features": names, "details": True})]
    lines += [json.dumps({"entity_id": entity, "timestamp": format_us(us), "label": i}) for i, (entity, us) in enumerate(spine)]
    answer = client.good("POST", "/features/batch", ("\n".join(lines) + "\n").encode(), {"Content-Type": rest.NDJSON})
    found, statuses, judged = [], {}, {}
    got_lines = answer.body.splitlines()
    if len(got_lines) != len(spine):
        found.append(f"{len(got_lines)} rows came back of {len(spine)}")
    for i, ((entity, us), line) in enumerate(zip(spine, got_lines)):
        row = json.loads(line)
        if (row["entity_id"], parse_us(row["timestamp"]), row["label"]) != (entity, us, i):
            found.append(f"row {i}: {entity} {format_us(us)} -> {row['entity_id']} {row['timestamp']} {row['label']}")
            continue
        at = row["event_timestamps"]
        cells = {name: (row["statuses"][name], row[name], None if at[name] is None else parse_us(at[name])) for name in names}
        for status in row["statuses"].values():
            statuses[status] = statuses.get(status, 0) + 1
        # The same question again must have the same answer: judged once, then compared as a whole.
        if (entity, us) in judged and judged[entity, us][0] == cells:
            problems = judged[entity, us][1]
        else:
            problems = judge.cell_problems(group, entity, us, cells)
            judged[entity, us] = (cells, problems)
        if problems:
            found.append(f"{entity} {format_us(us)}: {'; '.join(problems[:4])}")
    return found, statuses


def history(client, feature, entity):
    """[(event timestamp, value)] in the order of the answer."""
    values, token = [], ""
    while True:
        page = client.good("GET", f"/features/{feature}/history?entity_id={rest.quoted(entity)}&page_size=1000&page_token={rest.quoted(token)}").json()
        values += [(parse_us(v["event_timestamp"]), v["value"]) for v in page["values"]]
        token = page.get("next_page_token", "")
        if not token:
            return values


def newest_of_each(rows):
    """{event timestamp: value} of a history: the last of each moment wins."""
    return dict(rows)


def history_problems(client, judge, group, entity, features=None):
    """Rule 13: exactly these rows, none else; the newest row of each window has the model's values."""
    columns = {f.name: newest_of_each(history(client, f.name, entity)) for f in features or group.features}
    first = None
    for variant in judge.model.variants(group.name):
        problems = _history_problems(judge, variant, entity, columns)
        if not problems:
            return []
        first = first or problems
    return first


def _history_problems(judge, variant, entity, columns):
    want, found = set(variant.ends(entity)), []
    for name, rows in columns.items():
        for what, ends in (("no row", want - rows.keys()), ("a row too many", rows.keys() - want)):
            if ends:
                found.append(f"{entity} {name}: {what} at {', '.join(format_us(e) for e in sorted(ends)[:3])} ({len(ends)} in all)")
    for end in sorted(want) if not found else ():
        if problems := judge.row_problems(variant, entity, end, {name: rows[end] for name, rows in columns.items()}):
            found.append(f"{entity} {format_us(end)}: {'; '.join(problems[:4])}")
    return found


def read_late_table(client, page_size=1000):
    rows, token = [], ""
    while True:
        page = client.good("GET", f"/admin/late-events?page_size={page_size}&page_token={rest.quoted(token)}").json()
        rows += page["late_events"]
        token = page.get("next_page_token", "")
        if not token:
            return rows


def late_row(row):
    """A row of the table in the shape of the model's: (entity, type, moment, id, missed all, {group: (first, last, count)})."""
    missed = {m["group"]: (parse_us(m["first_end"]), parse_us(m["last_end"]), int(m["windows"])) for m in row["missed"]}
    if len(missed) != len(row["missed"]):
        raise ValueError(f"a group twice in {row}")
    return row["entity_id"], row["event_type"], parse_us(row["timestamp"]), row.get("event_id", ""), bool(row.get("late", False)), missed


def late_differences(got, want):
    """Both by arrival; `want` from `late_table`."""
    wanted = [(e.entity, e.event_type, e.moment_us, e.event_id, whole, missed) for _, e, whole, missed in want]
    found = [f"{len(got)} rows, expected {len(wanted)}"] if len(got) != len(wanted) else []
    return found + [f"{w} -> {g}" for w, g in zip(wanted, got) if w != g]
