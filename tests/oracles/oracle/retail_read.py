"""The same training set asked for in every way there is, each brought to one shape.

A reader returns `Reading`: for each row in order `(customer, product, moment in µs, label, line, bill, cells)` with
`cells = {feature: (status, value, event timestamp in µs)}`, the settled time, and the bytes where there are any.
"""

import io
import json
import time
from dataclasses import dataclass
from itertools import groupby

import pyarrow as pa
import pyarrow.parquet as pq

from . import rest
from .moments import format_us, of_proto, parse_us, proto
from .retail_data import spine_json

PIECE_ROWS = 4000
ONLINE_ROWS_MAX = 1000
LEAST_INT64 = -(2**63)


@dataclass
class Reading:
    rows: list
    settled_at: str | None = None
    repeatable: bool | None = None
    raw: bytes = b""


@dataclass
class Question:
    """What every way is asked: the spine and the options."""

    names: object
    spine: list
    max_age: str | None = None
    max_age_us: int | None = None
    known_at: str | None = None

    @property
    def features(self):
        return [name for name, _, _ in self.names.features]

    def options(self, details=True):
        options = {"features": self.features, "details": details}
        if self.max_age:
            options["max_age"] = self.max_age
        if self.known_at:
            options["known_at"] = self.known_at
        return options


# --- REST -----------------------------------------------------------------------------------------------------------

def json_pieces(client, question, columns=None):
    """JSON bodies of at most 1 MiB. Pieces see one history only when nothing is written meanwhile."""
    rows, settled, repeatable = [], None, True
    for start in range(0, len(question.spine), PIECE_ROWS):
        piece = question.spine[start:start + PIECE_ROWS]
        body = {**question.options(), "spine": [spine_json(row, question.names, columns) for row in piece]}
        if columns:
            body["columns"] = {
                "timestamp": columns["timestamp"],
                question.names.customer: columns["customer"],
                question.names.product: columns["product"],
            }
        answer = client.good("POST", "/features/batch", body).json()
        rows += [_json_row(row, question.names, columns) for row in answer["rows"]]
        settled, repeatable = answer["settled_at"], repeatable and answer["repeatable"]
    return Reading(rows, settled, repeatable)


def ndjson(client, question):
    """One stream, wholly sent before anything is read."""
    answer = client.good("POST", "/features/batch", _ndjson_lines(question), {"Content-Type": rest.NDJSON})
    rows = [_json_row(json.loads(line), question.names) for line in answer.body.splitlines()]
    return Reading(rows, _settled(answer), _flag(answer, "repeatable"), answer.body)


def parquet(client, question):
    """An NDJSON spine, answered as Parquet."""
    answer = client.good("POST", "/features/batch", _ndjson_lines(question), {"Content-Type": rest.NDJSON, "Accept": rest.PARQUET})
    table = pq.read_table(io.BytesIO(answer.body))
    return Reading(_table_rows(table, question.names), _settled(answer, table), None, answer.body)


def arrow(client, question):
    """An Arrow spine with the request in the URL, answered as an Arrow stream."""
    request = rest.quoted(json.dumps(question.options()))
    answer = client.good(
        "POST", f"/features/batch?request={request}", _spine_ipc(question.spine, question.names, 10_000),
        {"Content-Type": rest.ARROW, "Accept": rest.ARROW},
    )
    table = pa.ipc.open_stream(answer.body).read_all()
    return Reading(_table_rows(table, question.names), _settled(answer, table), None, answer.body)


def online(client, question):
    """One question a moment with `as_of`, at most 1 000 entities each."""
    rows = []
    for moment_us, piece in _by_moment(question.spine):
        body = {
            "features": question.features,
            "entities": {question.names.customer: [r.customer for r in piece], question.names.product: [r.product for r in piece]},
            "as_of": format_us(moment_us),
        }
        if question.max_age:
            body["max_age"] = question.max_age
        answer = client.good("POST", "/features/online", body).json()
        for row, result in zip(piece, answer["results"], strict=True):
            entities = result["entities"]
            cells = _json_cells(result["values"], result["statuses"], result["event_timestamps"], question.names)
            rows.append((entities[question.names.customer], entities[question.names.product], moment_us, row.label, row.line, row.invoice, cells))
    return Reading(rows)


def _ndjson_lines(question):
    lines = [json.dumps(question.options())]
    lines += [json.dumps(spine_json(row, question.names), ensure_ascii=False) for row in question.spine]
    return ("\n".join(lines) + "\n").encode()


def _json_row(row, names, columns=None):
    columns = columns or {}
    values = {name: row[name] for name, _, _ in names.features}
    cells = _json_cells(values, row["statuses"], row["event_timestamps"], names)
    return (
        row[columns.get("customer", names.customer)],
        row[columns.get("product", names.product)],
        parse_us(row[columns.get("timestamp", "timestamp")]),
        row["label"], row["line"], row["bill"], cells,
    )


def _json_cells(values, statuses, moments, names):
    return {
        name: (statuses[name], values[name], None if moments[name] is None else parse_us(moments[name]))
        for name, _, _ in names.features
    }


def _settled(answer, table=None):
    """The settled time, wherever it stands: a header, a trailer or the schema's metadata. No two places may disagree."""
    found = {value for place in (answer.headers, answer.trailers) for name, value in place.items() if "settled" in name}
    if table is not None:
        found |= {value.decode() for name, value in (table.schema.metadata or {}).items() if b"settled" in name}
    if len(found) != 1:
        raise ValueError(f"one settled time expected, found {sorted(found)} (headers {sorted(answer.headers)}, trailers {sorted(answer.trailers)})")
    return found.pop()


def _flag(answer, word):
    for place in (answer.trailers, answer.headers):
        for name, value in place.items():
            if word in name:
                return value == "true"
    return None


# --- gRPC -----------------------------------------------------------------------------------------------------------

def grpc_typed(client, question):
    pb = client.pb

    def requests():
        yield pb.GetHistoricalFeaturesRequest(options=_options(pb, question, pb.HISTORICAL_FORMAT_ROWS))
        for start in range(0, len(question.spine), PIECE_ROWS):
            yield pb.GetHistoricalFeaturesRequest(rows=pb.SpineRows(rows=[
                pb.SpineRow(
                    entities={question.names.customer: row.customer, question.names.product: row.product},
                    timestamp=proto(_timestamp(), row.moment_us),
                    columns={
                        "label": pb.Value(float64_value=row.label),
                        "line": pb.Value(int64_value=row.line),
                        "bill": pb.Value(string_value=row.invoice),
                    },
                )
                for row in question.spine[start:start + PIECE_ROWS]
            ]))

    rows, header, summary = [], None, None
    for message in client.stream("GetHistoricalFeatures", requests()):
        part = message.WhichOneof("part")
        if part == "header":
            header = message.header
        elif part == "rows":
            for row in message.rows.rows:
                spine = row.spine
                rows.append((
                    spine.entities[question.names.customer], spine.entities[question.names.product], of_proto(spine.timestamp),
                    spine.columns["label"].float64_value, spine.columns["line"].int64_value, spine.columns["bill"].string_value,
                    packed_cells(pb, header.schema, row.features),
                ))
        elif part == "summary":
            summary = message.summary
    if summary is None or summary.rows != len(question.spine):
        raise ValueError(f"the summary says {summary}, the spine has {len(question.spine)} rows")
    return Reading(rows, format_us(of_proto(header.settled_at)), header.repeatable)


def grpc_arrow(client, question):
    pb = client.pb

    def requests():
        yield pb.GetHistoricalFeaturesRequest(options=_options(pb, question, pb.HISTORICAL_FORMAT_ARROW))
        for start in range(0, len(question.spine), 10_000):
            yield pb.GetHistoricalFeaturesRequest(arrow_ipc=_spine_ipc(question.spine[start:start + 10_000], question.names, 10_000))

    rows, header, summary = [], None, None
    for message in client.stream("GetHistoricalFeatures", requests()):
        part = message.WhichOneof("part")
        if part == "header":
            header = message.header
        elif part == "arrow_ipc":
            rows += _table_rows(pa.ipc.open_stream(message.arrow_ipc).read_all(), question.names)
        elif part == "summary":
            summary = message.summary
    if summary is None or summary.rows != len(question.spine):
        raise ValueError(f"the summary says {summary}, the spine has {len(question.spine)} rows")
    return Reading(rows, format_us(of_proto(header.settled_at)), header.repeatable)


def grpc_online(client, question):
    pb = client.pb
    rows, schema, schema_id = [], None, 0
    for moment_us, piece in _by_moment(question.spine):
        request = pb.GetOnlineFeaturesRequest(
            features=question.features,
            entities={
                question.names.customer: pb.EntityIds(ids=[r.customer for r in piece]),
                question.names.product: pb.EntityIds(ids=[r.product for r in piece]),
            },
            as_of=proto(_timestamp(), moment_us),
            schema_id=schema_id,
        )
        if question.max_age_us is not None:
            request.max_age.seconds = question.max_age_us // 1_000_000
        answer = client.unary("GetOnlineFeatures", request)
        if answer.HasField("schema"):
            schema, schema_id = answer.schema, answer.schema_id
        for row, packed in zip(piece, answer.rows, strict=True):
            rows.append((row.customer, row.product, moment_us, row.label, row.line, row.invoice, packed_cells(pb, schema, packed)))
    return Reading(rows)


def packed_cells(pb, schema, row):
    """`{name: (status, value, event timestamp)}` of a packed row, by the rule that stands on the message."""
    arrays = {
        pb.DTYPE_BOOL: row.bools, pb.DTYPE_INT64: row.int64s, pb.DTYPE_FLOAT64: row.float64s, pb.DTYPE_FLOAT32: row.float32s,
        pb.DTYPE_STRING: row.strings, pb.DTYPE_BYTES: row.bytes_values, pb.DTYPE_TIMESTAMP: row.timestamps_us, pb.DTYPE_JSON: row.jsons,
    }
    cells = {}
    for i, feature in enumerate(schema.features):
        status = pb.FeatureStatus.Name(row.statuses[i])
        value = arrays.get(feature.dtype, row.lists)[feature.slot] if status == "PRESENT" else None
        moment = row.event_timestamps_us[feature.group]
        cells[feature.name] = (status, value, None if moment == LEAST_INT64 else moment)
    return cells


def _options(pb, question, answer_format):
    options = pb.HistoricalOptions(features=question.features, details=True, format=answer_format)
    if question.max_age_us is not None:
        options.max_age.seconds = question.max_age_us // 1_000_000
    if question.known_at == "row":
        options.known_at_row = True
    elif question.known_at:
        options.known_at.CopyFrom(proto(_timestamp(), parse_us(question.known_at)))
    return options


def _timestamp():
    from google.protobuf.timestamp_pb2 import Timestamp

    return Timestamp


# --- columns --------------------------------------------------------------------------------------------------------

def _spine_ipc(spine, names, batch_rows):
    table = pa.table({
        names.customer: pa.array([r.customer for r in spine], pa.string()),
        names.product: pa.array([r.product for r in spine], pa.string()),
        "timestamp": pa.array([r.moment_us for r in spine], pa.int64()).cast(pa.timestamp("us", "UTC")),
        "label": pa.array([r.label for r in spine], pa.float64()),
        "line": pa.array([r.line for r in spine], pa.int64()),
        "bill": pa.array([r.invoice for r in spine], pa.string()),
    })
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=batch_rows)
    return sink.getvalue()


def _table_rows(table, names):
    def column(name):
        values = table.column(name)
        if pa.types.is_dictionary(values.type):
            values = values.cast(values.type.value_type)
        if pa.types.is_timestamp(values.type):
            if values.type.unit != "us" or values.type.tz is None:
                raise ValueError(f"{name} is {values.type}, not microseconds with a zone")
            values = values.cast(pa.int64())
        return values.to_pylist()

    def moments(name):
        values = column(name)
        return [parse_us(v) if isinstance(v, str) else v for v in values]

    features = [
        (name, column(f"{name}__status"), column(name), moments(f"{name}__event_timestamp")) for name, _, _ in names.features
    ]
    spine = zip(
        column(names.customer), column(names.product), moments("timestamp"), column("label"), column("line"), column("bill"), strict=True
    )
    return [
        (*row, {name: (statuses[i], values[i], at[i]) for name, statuses, values, at in features})
        for i, row in enumerate(spine)
    ]


def _by_moment(spine):
    for moment_us, rows in groupby(spine, key=lambda row: row.moment_us):
        rows = list(rows)
        for start in range(0, len(rows), ONLINE_ROWS_MAX):
            yield moment_us, rows[start:start + ONLINE_ROWS_MAX]


# --- judgement ------------------------------------------------------------------------------------------------------

def differences(reading, question, expected):
    """One line for each row that is not what the rules say; also for rows lost, added or out of order."""
    found = []
    if len(reading.rows) != len(question.spine):
        found.append(f"{len(reading.rows)} rows came back of {len(question.spine)}")
    for got, row, cells in zip(reading.rows, question.spine, expected):
        want = (row.customer, row.product, row.moment_us, row.label, row.line, row.invoice, cells)
        if got != want:
            parts = [f"{w!r} -> {g!r}" for w, g in zip(want[:-1], got[:-1]) if w != g]
            parts += [f"{name}: {cells[name]} -> {got[-1].get(name)}" for name in cells if cells[name] != got[-1].get(name)]
            found.append(f"line {row.line}: {'; '.join(parts)}")
    return found


def timed(call):
    started = time.monotonic()
    result = call()
    return result, time.monotonic() - started
