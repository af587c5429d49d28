#!/usr/bin/env python3
"""Compares a peer's sums with sums calculated here.

    python3 verify.py EVENTS.ndjson RESULTS.tsv

A result is "entity, start of the window in ms, sum"; a later one for the same window replaces an earlier one.
"""

import datetime
import json
import math
import sys

SLIDE_MS = 60_000
WINDOWS_PER_EVENT = 5
EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)
MILLISECOND = datetime.timedelta(milliseconds=1)


def expected_sums(path):
    sums = {}
    with open(path, encoding="utf-8") as lines:
        for line in lines:
            event = json.loads(line)
            time = datetime.datetime.fromisoformat(event["timestamp"].replace("Z", "+00:00"))
            last_start = (time - EPOCH) // MILLISECOND // SLIDE_MS * SLIDE_MS
            for back in range(WINDOWS_PER_EVENT):
                window = event["entity_id"], last_start - back * SLIDE_MS
                sums[window] = sums.get(window, 0.0) + event["value"]
    return sums


def reported_sums(path):
    sums = {}
    with open(path, encoding="utf-8") as lines:
        for line in lines:
            entity, start, total = line.split("\t")
            sums[entity, int(start)] = float(total)
    return sums


def same(left, right):
    # Sums of doubles depend a little on the order of the events.
    return None not in (left, right) and math.isclose(left, right, rel_tol=1e-9, abs_tol=1e-9)


def main():
    expected = expected_sums(sys.argv[1])
    reported = reported_sums(sys.argv[2])
    windows = expected.keys() | reported.keys()
    wrong = sorted(w for w in windows if not same(expected.get(w), reported.get(w)))
    for window in wrong[:5]:
        print(*window, "expected", expected.get(window), "got", reported.get(window), file=sys.stderr)
    print(f"verified {len(expected)} windows, {len(wrong)} wrong", file=sys.stderr)
    sys.exit(1 if wrong or not expected else 0)


if __name__ == "__main__":
    main()
