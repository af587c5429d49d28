"""Events of the online-retail file, the orders they may arrive in, and the windowed features that take them.

An event is what a line with a customer says: a purchase (positive quantity) or a return (negative). Times are whole
minutes, so the aggregator's log time (seconds in a run) passes no multiple of a slide by itself.
"""

import random
from dataclasses import dataclass, replace

from .moments import format_us
from .retail_data import read_lines

SECOND_US = 1_000_000
MINUTE_US = 60 * SECOND_US
HOUR_US = 60 * MINUTE_US
DAY_US = 24 * HOUR_US
DELAY_US = 10 * MINUTE_US
UNITS_MIN = 12


@dataclass(frozen=True, slots=True)
class Event:
    """Lists of events are always in order of arrival."""

    entity: str
    event_type: str
    moment_us: int
    value: float
    metadata: dict
    event_id: str = ""

    def field(self, name):
        return self.value if name == "value" else self.metadata.get(name.removeprefix("metadata."))

    def json(self):
        body = {
            "entity_id": self.entity, "event_type": self.event_type, "value": self.value,
            "timestamp": format_us(self.moment_us), "metadata": self.metadata,
        }
        return {**body, "event_id": self.event_id} if self.event_id else body


@dataclass(frozen=True)
class WindowFeature:
    name: str
    function: str
    dtype: str
    field: str | None = None
    quantile: float | None = None
    k: int | None = None
    counts: bool | None = None


@dataclass(frozen=True)
class Group:
    """Features over one source and one window: rows of one group. `given` = the registration names the group."""

    name: str
    event_type: str
    size_us: int
    slide_us: int
    ttl_us: int
    features: tuple
    given: bool = True

    def registration(self, start=None, entity_type="customer"):
        for feature in self.features:
            window = {
                "event_type": self.event_type, "function": feature.function,
                "size": f"{self.size_us // SECOND_US}s", "slide": f"{self.slide_us // SECOND_US}s",
            }
            if feature.field and feature.field != "value":
                window["field"] = feature.field
            for parameter in ("quantile", "k", "counts"):
                if (given := getattr(feature, parameter)) is not None:
                    window[parameter] = given
            if start:
                window["start"] = start
            body = {
                "name": feature.name, "entity_type": entity_type, "dtype": feature.dtype,
                "ttl": f"{self.ttl_us // SECOND_US}s", "window": window,
            }
            yield {**body, "group": self.name} if self.given else body


def every_function(prefix):
    """All functions; `metadata.units` stands only on large purchases, so some windows have events but no units."""
    value, stock, country, units = "value", "metadata.stock_code", "metadata.country", "metadata.units"
    described = [
        ("count", "count", "int64", None, None), ("sum", "sum", "float64", value, None), ("mean", "mean", "float64", value, None),
        ("min", "min", "float64", value, None), ("max", "max", "float64", value, None),
        ("stddev", "stddev", "float64", value, None), ("variance", "variance", "float64", value, None),
        ("first", "first", "float64", value, None), ("last", "last", "float64", value, None),
        ("products", "approx_distinct", "int64", stock, None),
        ("median", "percentile", "float64", value, 0.5), ("p95", "percentile", "float64", value, 0.95),
        ("first_country", "first", "string", country, None), ("last_product", "last", "string", stock, None),
        ("large", "count", "int64", units, None), ("units", "sum", "int64", units, None), ("units_max", "max", "int64", units, None),
        ("units_mean", "mean", "float64", units, None),
        ("top_products", "topk", "list<string>", stock, None, 3), ("top_units", "topk", "list<int64>", units, None, 100),
        ("product_counts", "topk", "json", stock, None, 10, True), ("country_counts", "topk", "json", country, None, 1, True),
    ]
    return tuple(WindowFeature(f"{prefix}_{name}", *rest) for name, *rest in described)


def some_functions(prefix):
    return tuple(f for f in every_function(prefix) if f.function in ("count", "sum", "min", "last", "approx_distinct") and f.field != "metadata.units")


BUY_5M = Group("buy_5m", "purchase", 5 * MINUTE_US, MINUTE_US, 8 * MINUTE_US, every_function("buy_5m"))
BUY_1H = Group("buy_1h", "purchase", HOUR_US, 5 * MINUTE_US, 62 * MINUTE_US, every_function("buy_1h"))
BUY_7D = Group("buy_7d", "purchase", 7 * DAY_US, HOUR_US, 7 * DAY_US + 2 * HOUR_US, every_function("buy_7d"))
# Without a given group, its name is the first feature's.
BACK_5M = Group("back_5m_count", "return", 5 * MINUTE_US, MINUTE_US, DAY_US, some_functions("back_5m"), given=False)
BACK_7D = Group("back_7d", "return", 7 * DAY_US, HOUR_US, 30 * DAY_US, some_functions("back_7d"))
GROUPS = (BUY_5M, BUY_1H, BUY_7D, BACK_5M, BACK_7D)
# With these alone an event a quarter of an hour late has missed everything.
SHORT_GROUPS = (BUY_5M, BACK_5M)


def registrations(groups, start=None):
    """Bodies of `POST /features/register`: given groups one call each, the others one call each too."""
    return [{"features": list(group.registration(start))} for group in groups]


def retail_events(path, limit=None):
    events = []
    for line in read_lines(path, limit):
        if not line.customer:
            continue
        metadata = {"invoice": line.invoice, "stock_code": line.product, "country": line.country}
        if line.quantity >= UNITS_MIN:
            metadata["units"] = line.quantity
        kind = "purchase" if line.quantity > 0 else "return"
        events.append(Event(line.customer, kind, line.moment_us, line.quantity * line.price, metadata))
    return events


def with_ids(events):
    """The position among the entity's own events: the same ids at every entity, since ids are an entity's own."""
    counted, named = {}, []
    for event in events:
        counted[event.entity] = counted.get(event.entity, 0) + 1
        named.append(replace(event, event_id=f"e{counted[event.entity]}"))
    return named


def shuffled(events, within_us, seed):
    """In the order of timestamp + a random delay."""
    dice = random.Random(seed)
    delayed = [(event.moment_us + dice.randrange(within_us), i) for i, event in enumerate(events)]
    return [events[i] for _, i in sorted(delayed)]


def closing_events(events):
    """One far later event of each type, of an entity of its own: closes every window of the others."""
    far_us = max(event.moment_us for event in events) + 30 * DAY_US
    far_us -= far_us % MINUTE_US
    return [Event("closer", kind, far_us, 1.0, {"stock_code": "none", "country": "Nowhere"}, f"end of {kind}") for kind in sorted({e.event_type for e in events})]


def in_time_order(events):
    return sorted(events, key=lambda event: event.moment_us)
