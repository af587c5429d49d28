"""Moments as microseconds since the Unix epoch, in whole numbers all the way."""

import datetime
import re

EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)
MICROSECOND = datetime.timedelta(microseconds=1)


def parse_us(text):
    """RFC 3339 with offset, up to six fraction digits, to microseconds."""
    match = re.fullmatch(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,6}))?(Z|[+-]\d\d:\d\d)", text)
    if not match:
        raise ValueError(f"not RFC 3339 with offset: {text!r}")
    whole, fraction, offset = match.groups()
    moment = datetime.datetime.fromisoformat(whole + ("+00:00" if offset == "Z" else offset))
    return (moment - EPOCH) // MICROSECOND + int((fraction or "0").ljust(6, "0"))


def format_us(us):
    """UTC with 0, 3 or 6 fraction digits, as many as are needed."""
    moment = EPOCH + us * MICROSECOND
    text = moment.strftime("%Y-%m-%dT%H:%M:%S")
    fraction = us % 1_000_000
    if fraction % 1000:
        text += f".{fraction:06d}"
    elif fraction:
        text += f".{fraction // 1000:03d}"
    return text + "Z"


def proto(timestamp_class, us):
    return timestamp_class(seconds=us // 1_000_000, nanos=us % 1_000_000 * 1000)


def of_proto(timestamp):
    return timestamp.seconds * 1_000_000 + timestamp.nanos // 1000
