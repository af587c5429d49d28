"""The online-retail file as lines, as feature rows and as a spine.

    InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country

A line with a customer says something of a customer (country, invoice) and of a product (price, description); one
without says only the latter. `Names` keeps two passes in one store apart by a suffix.
"""

import csv
import gzip
import io
import random
from dataclasses import dataclass

from .moments import format_us, parse_us


@dataclass(frozen=True)
class Line:
    number: int
    invoice: str
    product: str
    description: str | None
    quantity: int
    moment_us: int
    price: float
    customer: str | None
    country: str


@dataclass(frozen=True)
class SpineRow:
    line: int
    customer: str
    product: str
    moment_us: int
    label: float
    invoice: str


@dataclass(frozen=True)
class GroupRow:
    """One moment of one group of one entity: what the store keeps. `values` in the order of the group's features."""

    group: str
    entity: str
    moment_us: int
    values: tuple


@dataclass(frozen=True)
class Names:
    suffix: str = ""

    def __getattr__(self, name):
        if name in ("customer", "product", "country", "invoice", "price", "description", "customer_profile", "product_catalog"):
            return name + self.suffix
        raise AttributeError(name)

    @property
    def features(self):
        """In the order in which every check asks for them: (name, group, position in the group)."""
        return [
            (self.country, "customer", 0),
            (self.price, "product", 0),
            (self.invoice, "customer", 1),
            (self.description, "product", 1),
        ]

    def group_features(self, group):
        return (self.country, self.invoice) if group == "customer" else (self.price, self.description)

    def registration(self):
        """The body of `POST /features/register`."""
        def feature(name, entity_type, dtype, group):
            return {"name": name, "entity_type": entity_type, "dtype": dtype, "group": group}

        return {
            "features": [
                feature(self.country, self.customer, "string", self.customer_profile),
                feature(self.invoice, self.customer, "string", self.customer_profile),
                feature(self.price, self.product, "float64", self.product_catalog),
                feature(self.description, self.product, "string", self.product_catalog),
            ]
        }


def read_lines(path, limit=None):
    with gzip.open(path, "rb") as file:
        text = io.TextIOWrapper(file, encoding="utf-8", newline="")
        lines = []
        for number, record in enumerate(csv.DictReader(text)):
            if limit is not None and number >= limit:
                break
            lines.append(
                Line(
                    number=number,
                    invoice=record["InvoiceNo"],
                    product=record["StockCode"],
                    description=record["Description"] or None,
                    quantity=int(record["Quantity"]),
                    moment_us=parse_us(record["InvoiceDate"].replace(" ", "T") + "Z"),
                    price=float(record["UnitPrice"]),
                    customer=record["CustomerID"].removesuffix(".0") or None,
                    country=record["Country"],
                )
            )
    return lines


def group_rows(line):
    """What a line writes: the customer's row, if there is a customer, then the product's."""
    rows = []
    if line.customer:
        rows.append(GroupRow("customer", line.customer, line.moment_us, (line.country, line.invoice)))
    rows.append(GroupRow("product", line.product, line.moment_us, (line.price, line.description)))
    return rows


def input_rows(lines, spanning):
    """Rows as they are sent, each a tuple of the group rows it holds: one a line (spanning both groups), or one a group."""
    for line in lines:
        rows = group_rows(line)
        if spanning:
            yield tuple(rows)
        else:
            yield from ((row,) for row in rows)


def row_json(row, names):
    """A row as `POST /features/write` takes it."""
    values = {}
    for part in row:
        values.update(zip(names.group_features(part.group), part.values))
    body = {"event_timestamp": format_us(row[0].moment_us), "values": values}
    if len(row) == 1:
        return {"entity_type": getattr(names, row[0].group), "entity_id": row[0].entity, **body}
    return {"entities": {getattr(names, part.group): part.entity for part in row}, **body}


def spine(lines):
    """Every purchase: a positive quantity and a customer; its value is the label."""
    return [
        SpineRow(line.number, line.customer, line.product, line.moment_us, line.quantity * line.price, line.invoice)
        for line in lines
        if line.customer and line.quantity > 0
    ]


def eve_spine(rows):
    """The same purchases one microsecond before: first purchases find nothing, others find what was true until then."""
    return [SpineRow(r.line, r.customer, r.product, r.moment_us - 1, r.label, r.invoice) for r in rows]


def spine_json(row, names, columns=None):
    columns = columns or {}
    return {
        columns.get("customer", names.customer): row.customer,
        columns.get("product", names.product): row.product,
        columns.get("timestamp", "timestamp"): format_us(row.moment_us),
        "label": row.label,
        "line": row.line,
        "bill": row.invoice,
    }


def corrections(stored, count, seed):
    """Other values at existing event timestamps, for `count` different (group, entity, moment)."""
    keys = sorted({(row.group, row.entity, row.moment_us) for row in stored})
    newest = {(row.group, row.entity, row.moment_us): row for row in stored}
    chosen = random.Random(seed).sample(keys, min(count, len(keys)))
    corrected = []
    for group, entity, moment_us in chosen:
        first, second = newest[group, entity, moment_us].values
        values = ("Atlantis of " + first, second) if group == "customer" else (first + 1000.25, None if second else "found again")
        corrected.append(GroupRow(group, entity, moment_us, values))
    return corrected
