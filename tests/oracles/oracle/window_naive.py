"""The rules of windows once more, record by record and window by window, as slowly as they read.

Only for small input: it judges `window_model` before that judges a server. Nothing is shared with it but the data.
"""

import statistics
from collections import defaultdict


def simulate(group, events, delay_us):
    """Returns ({(entity, end): events of the newest emission}, {arrival: ends missed})."""
    size, slide = group.size_us, group.slide_us
    windows, dirty, emitted, missed = defaultdict(list), set(), {}, {}
    greatest = None

    def emit(chosen):
        for window in list(dirty):
            entity, end = window
            if chosen(end):
                emitted[window] = list(windows[window])
                dirty.discard(window)
        for entity, end in list(windows):
            empty = (entity, end + slide)
            if empty not in windows and empty not in emitted and chosen(end + slide):
                emitted[empty] = []

    for arrival, event in enumerate(events):
        if event.event_type != group.event_type:
            continue
        watermark = None if greatest is None else greatest - delay_us
        for end in range(0, event.moment_us + size + slide, slide):
            if not end - size <= event.moment_us < end:
                continue
            if watermark is not None and end <= watermark:
                missed.setdefault(arrival, []).append(end)
            else:
                windows[event.entity, end].append((arrival, event))
                dirty.add((event.entity, end))
        before = greatest
        greatest = event.moment_us if greatest is None else max(greatest, event.moment_us)
        if before is None or greatest // slide > before // slide:
            emit(lambda end: end <= greatest)
        if before is not None:
            emit(lambda end: before - delay_us < end <= greatest - delay_us)
    return {window: [e for _, e in sorted(found, key=lambda pair: (pair[1].moment_us, pair[0]))] for window, found in emitted.items()}, missed


def slow_value(feature, events):
    """The function by the standard library's own statistics."""
    values = events if feature.field is None else [v for v in (e.field(feature.field) for e in events) if v is not None]
    if feature.function == "count":
        return len(values)
    if feature.function == "sum":
        return sum(values) if feature.dtype == "int64" else float(sum(values))
    if not values:
        return None
    if feature.function in ("variance", "stddev") and len(values) < 2:
        return None
    return {
        "mean": statistics.mean, "min": min, "max": max, "variance": statistics.variance, "stddev": statistics.stdev,
        "first": lambda v: v[0], "last": lambda v: v[-1], "approx_distinct": lambda v: len(set(v)), "percentile": lambda v: slow_rank(v, feature.quantile),
        "topk": lambda v: slow_topk(v, feature),
    }[feature.function](values)


def slow_rank(values, quantile):
    """The smallest value that at least the share `quantile` of all values does not exceed."""
    return next(v for v in sorted(values) if sum(w <= v for w in values) >= quantile * len(values) - 1e-9)


def slow_topk(values, feature):
    """One after the other: the most frequent of what is left, and of several the least."""
    left, best = list(values), []
    while left and len(best) < feature.k:
        most = max(left.count(value) for value in left)
        chosen = min((value for value in left if left.count(value) == most), key=lambda v: v.encode() if isinstance(v, str) else v)
        best.append([chosen, most] if feature.counts else chosen)
        left = [value for value in left if value != chosen]
    return best
