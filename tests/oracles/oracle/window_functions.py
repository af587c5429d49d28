"""The functions of windows over a list of events, and whether an answer is near enough.

Exact: count, min, max, first, last, topk, whole numbers, approx_distinct below 1 000. By tolerance: the rest.
"""

import math
from collections import Counter
from fractions import Fraction

RELATIVE = 1e-9
QUANTILE_ERROR = 0.01
DISTINCT_EXACT_MAX = 1000
# A standard error of 1 %: one of these would be seen once in 3 million.
DISTINCT_ERROR_MAX = 0.05


def values_of(feature, events):
    """What the function runs over: events without the field do not count."""
    if feature.field is None:
        return events
    return [value for event in events if (value := event.field(feature.field)) is not None]


def compute(feature, events):
    """The value for events in order of (timestamp, arrival); for a percentile the sorted values themselves."""
    values = values_of(feature, events)
    name = feature.function
    if name == "count":
        return len(values)
    if name == "sum":
        return sum(values) if feature.dtype == "int64" else math.fsum(values)
    if not values:
        return None
    match name:
        case "mean":
            return math.fsum(values) / len(values)
        case "min":
            return min(values)
        case "max":
            return max(values)
        case "first":
            return values[0]
        case "last":
            return values[-1]
        case "approx_distinct":
            return len(set(values))
        case "percentile":
            return sorted(values)
        case "topk":
            best = sorted(Counter(values).items(), key=lambda pair: (-pair[1], in_order(pair[0])))[: feature.k]
            return [list(pair) for pair in best] if feature.counts else [value for value, _ in best]
        case "variance" | "stddev":
            if len(values) < 2:
                return None
            mean = math.fsum(values) / len(values)
            variance = math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1)
            return variance if name == "variance" else math.sqrt(variance)
    raise ValueError(name)


def in_order(value):
    """How `topk` breaks ties: text by its bytes."""
    return value.encode() if isinstance(value, str) else value


class Nearness:
    """Judges values; remembers which definition of a percentile's rank fits every cell seen so far."""

    def __init__(self):
        self.ranks = dict.fromkeys(RANKS, 0)
        self.percentiles = 0

    def same(self, feature, want, got, events):
        if want is None or got is None:
            return want is got
        if feature.dtype == "string" or feature.function == "topk":
            return want == got
        if isinstance(got, (str, bool)) or (feature.dtype == "int64" and not isinstance(got, int)):
            return False
        name = feature.function
        if name in ("count", "min", "max", "first", "last") or (name == "sum" and feature.dtype == "int64"):
            return want == got
        if name == "approx_distinct":
            return want == got if want < DISTINCT_EXACT_MAX else abs(want - got) <= DISTINCT_ERROR_MAX * want
        if name == "percentile":
            return self.percentile(want, got, feature.quantile)
        values = values_of(feature, events)
        greatest = max((abs(value) for value in values), default=0.0)
        if name == "variance":
            return near(want, got, 1e-13 * greatest**2)
        if name == "stddev":
            # Where the variance is almost nothing, so is what its rounding makes of it.
            return near(want**2, got**2, 1e-13 * greatest**2) and got >= 0
        return near(want, got, 0.0)

    def percentile(self, ordered, got, quantile):
        self.percentiles += 1
        fits = False
        for name, rank in RANKS.items():
            if any(abs(got - value) <= QUANTILE_ERROR * abs(value) + 1e-12 for value in rank(ordered, quantile)):
                self.ranks[name] += 1
                fits = True
        return fits

    def ranks_that_fit(self):
        """The names of the definitions under which every percentile was within its bound."""
        return [name for name, fitted in self.ranks.items() if fitted == self.percentiles]


def near(want, got, absolute):
    return abs(want - got) <= RELATIVE * abs(want) + absolute


def _at(ordered, quantile, scale, shift, rounding):
    """The elements at position quantile × scale + shift, rounded: worked out exactly, and as floating point has it."""
    last = len(ordered) - 1
    exact = Fraction(str(quantile)) * scale + Fraction(shift)
    return [ordered[min(max(rounding(position), 0), last)] for position in (exact, quantile * scale + shift)]


def _linear(ordered, quantile):
    position = quantile * (len(ordered) - 1)
    low = math.floor(position)
    high = min(low + 1, len(ordered) - 1)
    return [ordered[low] + (ordered[high] - ordered[low]) * (position - low)]


# The documents bound the error but do not say whose rank is meant. One of these must fit everywhere.
RANKS = {
    "floor(q(n-1))": lambda ordered, q: _at(ordered, q, len(ordered) - 1, 0, math.floor),
    "ceil(q(n-1))": lambda ordered, q: _at(ordered, q, len(ordered) - 1, 0, math.ceil),
    "round(q(n-1))": lambda ordered, q: _at(ordered, q, len(ordered) - 1, 0.5, math.floor),
    "ceil(qn)-1": lambda ordered, q: _at(ordered, q, len(ordered), -1, math.ceil),
    "floor(qn)": lambda ordered, q: _at(ordered, q, len(ordered), 0, math.floor),
    "linear": _linear,
}
