"""Proto answers as REST's natural JSON: what one transport must say for the other to be right."""

import base64
import json
import math
import struct
from decimal import Decimal

from .moments import format_us, of_proto
from .retail_read import LEAST_INT64

DTYPES = {
    1: "bool", 2: "int64", 3: "float64", 4: "float32", 5: "string", 6: "bytes", 7: "timestamp", 8: "json",
    9: "list<bool>", 10: "list<int64>", 11: "list<float64>", 12: "list<float32>", 13: "list<string>", 14: "list<bytes>", 15: "list<timestamp>",
}
ARRAYS = {
    "bool": "bools", "int64": "int64s", "float64": "float64s", "float32": "float32s", "string": "strings", "bytes": "bytes_values",
    "timestamp": "timestamps_us", "json": "jsons",
}
DECIMAL = 16
UNITS = ((86400, "d"), (3600, "h"), (60, "m"), (1, "s"))


def dtype_of(message):
    """The name of a message's dtype."""
    if message.dtype == DECIMAL:
        return f"decimal({message.decimal_type.precision},{message.decimal_type.scale})"
    return DTYPES[message.dtype]


def set_dtype(message, name):
    """Puts a dtype into a message by its name."""
    if name.startswith("decimal("):
        message.dtype = DECIMAL
        message.decimal_type.precision, message.decimal_type.scale = map(int, name[len("decimal("):-1].split(","))
    else:
        message.dtype = next(number for number, known in DTYPES.items() if known == name)


def scalar(value, dtype):
    """A value out of a typed array."""
    if dtype in ("float64", "float32"):
        if math.isnan(value):
            return "NaN"
        if math.isinf(value):
            return "Infinity" if value > 0 else "-Infinity"
        return value
    if dtype == "bytes":
        return base64.b64encode(value).decode()
    if dtype == "timestamp":
        return format_us(value)
    if dtype == "json":
        return json.loads(value)
    return value


def array(values, dtype):
    """A `List` as JSON, nulls where `null_positions` says."""
    element = dtype.removeprefix("list<").removesuffix(">")
    items = [scalar(v, element) for v in getattr(values, ARRAYS[element])]
    for position in values.null_positions:
        items[position] = None
    return items


def cell_value(row, feature):
    dtype = dtype_of(feature)
    if dtype.startswith("list<"):
        return array(row.lists[feature.slot], dtype)
    if feature.dtype == DECIMAL:
        unscaled = int.from_bytes(row.decimals[16 * feature.slot : 16 * feature.slot + 16], "little", signed=True)
        return format(Decimal(f"{unscaled}e-{feature.decimal_type.scale}"), "f")
    return scalar(getattr(row, ARRAYS[dtype])[feature.slot], dtype)


def packed_row(pb, schema, row, defaults=()):
    """`(values, statuses, event_timestamps)` by name. `defaults`: features whose empty cells hold their default."""
    values, statuses, moments = {}, {}, {}
    for i, feature in enumerate(schema.features):
        status = pb.FeatureStatus.Name(row.statuses[i])
        moment = row.event_timestamps_us[feature.group]
        values[feature.name] = cell_value(row, feature) if status == "PRESENT" or feature.name in defaults else None
        statuses[feature.name] = status
        moments[feature.name] = None if moment == LEAST_INT64 else format_us(moment)
    return values, statuses, moments


def value(message, dtype):
    """A `Value` message."""
    kind = message.WhichOneof("kind")
    if kind in (None, "null_value"):
        return None
    content = getattr(message, kind)
    if kind == "list_value":
        return array(content, dtype)
    if kind == "timestamp_value":
        return format_us(of_proto(content))
    return scalar(content, dtype)


def duration(message):
    """In the largest unit that divides it."""
    if message.nanos:
        return f"{message.seconds + message.nanos / 1e9:g}s"
    if message.seconds == 0:
        return "0s"
    for seconds, unit in UNITS:
        if message.seconds % seconds == 0:
            return f"{message.seconds // seconds}{unit}"
    return None


def feature(pb, message):
    """A `Feature` as REST shows it; fields that are not set are None."""
    definition = message.definition
    dtype = dtype_of(definition)
    optional = lambda owner, name, show: show(getattr(owner, name)) if owner.HasField(name) else None  # noqa: E731
    return {
        "name": definition.name, "entity_type": definition.entity_type, "dtype": dtype, "group": definition.group, "version": definition.version,
        "ttl": optional(definition, "ttl", duration), "cache_ttl": optional(definition, "cache_ttl", duration),
        "description": definition.description, "owner": definition.owner, "tags": dict(definition.tags),
        "default": optional(definition, "default_value", lambda v: value(v, dtype)), "allow_non_finite": definition.allow_non_finite,
        "ref": message.ref, "id": message.id, "status": pb.FeatureVersionStatus.Name(message.status).removeprefix("FEATURE_VERSION_STATUS_").lower(),
        "revision": message.revision, "created_at": optional(message, "created_at", lambda t: format_us(of_proto(t))),
        "last_written_at": optional(message, "last_written_at", lambda t: format_us(of_proto(t))),
    }


def feature_set(message):
    return {
        "name": message.name, "version": message.version, "ref": f"{message.name}@{message.version}", "features": list(message.features),
        "created_at": format_us(of_proto(message.created_at)), "names": list(message.names),
    }


def flat(pb, message, dtype):
    """Any message as REST shows it: moments and spans as text, enums as words, values by their dtype; what is not set is None."""
    shown = {}
    for field in message.DESCRIPTOR.fields:
        if field.name in ("dtype", "decimal_type"):
            continue
        content = getattr(message, field.name)
        kind = field.message_type and field.message_type.full_name

        def one(item):
            if kind == "google.protobuf.Timestamp":
                return format_us(of_proto(item))
            if kind == "google.protobuf.Duration":
                return duration(item)
            if kind == "larder.v1.Value":
                return value(item, dtype)
            if kind:
                return flat(pb, item, dtype)
            return field.enum_type.values_by_number[item].name if field.enum_type else item

        if field.is_repeated:
            shown[field.name] = [one(item) for item in content]
        elif field.has_presence and not message.HasField(field.name):
            shown[field.name] = None
        else:
            shown[field.name] = one(content)
    if "dtype" in message.DESCRIPTOR.fields_by_name:
        shown["dtype"] = dtype_of(message)
    return shown


EMPTY = (None, "", False, 0, [], {})


def same(a, b):
    """Equal as JSON values; a float32 may be its shortest digits on one side and a widened double on the other."""
    if isinstance(a, float) or isinstance(b, float):
        if isinstance(a, bool) or isinstance(b, bool) or not isinstance(a, (int, float)) or not isinstance(b, (int, float)):
            return False
        return a == b or struct.pack("<f", a) == struct.pack("<f", b) and (_is_float32(a) or _is_float32(b))
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b))
    return type(a) is type(b) and a == b


def _is_float32(number):
    return struct.unpack("<f", struct.pack("<f", number))[0] == number


def lacking(rest, grpc):
    """What differs between two objects that may leave out empty fields: one line each."""
    found = []
    for name in sorted(rest.keys() | grpc.keys()):
        a, b = rest.get(name), grpc.get(name)
        if not same(a, b) and not (a in EMPTY and b in EMPTY):
            found.append(f"{name}: REST {a!r}, gRPC {b!r}")
    return found


def lacking_within(rest, grpc, place=""):
    """As `lacking`, in objects and lists of any depth."""
    if isinstance(rest, dict) and isinstance(grpc, dict):
        return [line for name in sorted(rest.keys() | grpc.keys()) for line in lacking_within(rest.get(name), grpc.get(name), f"{place}.{name}")]
    if isinstance(rest, list) and isinstance(grpc, list) and len(rest) == len(grpc):
        return [line for i, pair in enumerate(zip(rest, grpc)) for line in lacking_within(*pair, f"{place}[{i}]")]
    return [] if same(rest, grpc) or rest in EMPTY and grpc in EMPTY else [f"{place}: REST {rest!r}, gRPC {grpc!r}"]
