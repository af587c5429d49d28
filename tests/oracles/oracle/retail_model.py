"""What the rules say about rows and reads, computed the slow and obvious way, twice.

- `Model` is plain Python: every stored row in arrival order, and for each question a look at all rows of the entity.
  Requests are sent one after another, so arrival order *is* the order of (created, sequence).
- `duckdb_expected` answers the same questions with an ASOF join; the two must agree before either judges a server.
"""

from collections import defaultdict
from dataclasses import dataclass, field

PRESENT, NULL_VALUE, NOT_FOUND, OUTSIDE_MAX_AGE = "PRESENT", "NULL_VALUE", "NOT_FOUND", "OUTSIDE_MAX_AGE"


@dataclass
class Counts:
    accepted: int = 0
    unchanged: int = 0
    rejected: int = 0

    def __add__(self, other):
        return Counts(self.accepted + other.accepted, self.unchanged + other.unchanged, self.rejected + other.rejected)


@dataclass
class Model:
    """History by (group, entity): rows in arrival order."""

    history: dict = field(default_factory=lambda: defaultdict(list))

    def write(self, rows):
        """Input rows, each a tuple of group rows. A group row equal to the newest at its event timestamp is not stored
        again; an input row is unchanged when none of its group rows was stored."""
        counts = Counts()
        for row in rows:
            stored_any = False
            for part in row:
                history = self.history[part.group, part.entity]
                newest = None
                for known in history:
                    if known.moment_us == part.moment_us:
                        newest = known
                if newest is None or newest.values != part.values:
                    history.append(part)
                    stored_any = True
            if stored_any:
                counts.accepted += 1
            else:
                counts.unchanged += 1
        return counts

    def stored(self):
        return [row for rows in self.history.values() for row in rows]

    def newest(self, group, entity, moment_us):
        """The greatest (event timestamp, arrival) at or before the moment, over all rows."""
        found = None
        for row in self.history.get((group, entity), ()):
            if row.moment_us <= moment_us and (found is None or row.moment_us >= found.moment_us):
                found = row
        return found

    def cells(self, spine_row, names, max_age_us=None):
        """{feature: (status, value, event timestamp)} for one spine row."""
        rows = {
            "customer": self.newest("customer", spine_row.customer, spine_row.moment_us),
            "product": self.newest("product", spine_row.product, spine_row.moment_us),
        }
        cells = {}
        for name, group, position in names.features:
            row = rows[group]
            cells[name] = judge(row, position, spine_row.moment_us, max_age_us)
        return cells

    def expected(self, spine, names, max_age_us=None):
        return [self.cells(row, names, max_age_us) for row in spine]


def judge(row, position, moment_us, max_age_us):
    if row is None:
        return (NOT_FOUND, None, None)
    if max_age_us is not None and row.moment_us <= moment_us - max_age_us:
        return (OUTSIDE_MAX_AGE, None, row.moment_us)
    value = row.values[position]
    return (NULL_VALUE if value is None else PRESENT, value, row.moment_us)


def duckdb_expected(model, spine, names, max_age_us=None):
    """The same as `Model.expected`, by ASOF join over the newest arrival of each event timestamp."""
    import duckdb
    import pandas

    connection = duckdb.connect()
    connection.execute("SET threads = 2")
    asked = pandas.DataFrame(
        [(i, r.customer, r.product, r.moment_us) for i, r in enumerate(spine)], columns=["i", "customer", "product", "t"]
    )
    connection.register("asked", asked)
    found = {}
    for group in ("customer", "product"):
        rows = [
            (row.entity, row.moment_us, arrival)
            for (of_group, _), history in model.history.items()
            if of_group == group
            for arrival, row in enumerate(history)
        ]
        connection.register(f"{group}_rows", pandas.DataFrame(rows, columns=["entity", "event", "arrival"]))
        answer = connection.execute(
            f"""SELECT asked.i, newest.event, newest.arrival FROM asked ASOF JOIN
                (SELECT entity, event, max(arrival) AS arrival FROM {group}_rows GROUP BY ALL) AS newest
                ON asked.{group} = newest.entity AND asked.t >= newest.event"""
        ).fetchall()
        found[group] = {i: arrival for i, _, arrival in answer}
    expected = []
    for i, row in enumerate(spine):
        entity = {"customer": row.customer, "product": row.product}
        cells = {}
        for name, group, position in names.features:
            arrival = found[group].get(i)
            chosen = None if arrival is None else model.history[group, entity[group]][arrival]
            cells[name] = judge(chosen, position, row.moment_us, max_age_us)
        expected.append(cells)
    return expected
