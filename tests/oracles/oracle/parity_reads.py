"""Online answers and training sets through both doors, in every format."""

import base64
import datetime
import io
import json
from decimal import Decimal

import grpc
import pyarrow as pa
import pyarrow.parquet as pq
from google.protobuf import json_format
from google.protobuf.timestamp_pb2 import Timestamp

from . import natural, rest
from .moments import EPOCH, MICROSECOND, format_us, of_proto, parse_us, proto
from .parity_ask import FEATURES, IDS, T, Asking, settled
from .rest import quoted


DEFAULTED = ("ra_country", "ra_risk")


class Reads(Asking):
    def online(self):
        pb = self.pb
        names = [f"ra_{name}" for name, *_ in FEATURES]
        users = {"ra_user": ["plain", "nobody", IDS[1]], "ra_merchant": ["m", "m", "nobody"]}
        questions = {
            "now": {"features": names, "entity_ids": [*IDS, "nobody"]},
            "as_of between": {"features": names, "entity_ids": IDS, "as_of": format_us(T[1])},
            "as_of at the moment": {"features": names, "entity_ids": IDS, "as_of": format_us(T[2])},
            "as_of before all": {"features": names, "entity_ids": IDS, "as_of": format_us(T[0] - 1)},
            "max_age": {"features": names, "entity_ids": IDS, "as_of": format_us(T[3]), "max_age": "15d"},
            "full references and versions": {"features": ["ra_kinds.ra_a_int64", "ra_a_bool@1", "ra_lists.ra_a_list_int64@1"], "entity_ids": IDS},
            "several entities": {"features": ["ra_country", "ra_risk", "ra_affinity", "ra_a_int64"], "entities": users, "as_of": format_us(T[3])},
            "defaults": {"features": ["ra_country", "ra_risk"], "entities": users, "use_defaults": True},
            "ttl over": {"features": ["ra_country"], "entity_ids": ["plain"]},
            "set": {"feature_set": "ra_set@2", "entities": users, "as_of": format_us(T[3])},
        }
        for what, question in questions.items():
            by_rest = self.api("POST", "/features/online", question).json()
            packed = self.api("POST", "/features/online:packed", question).json()
            request = online_proto(pb, question)
            answer = self.rpc("GetOnlineFeatures", request)
            defaults = DEFAULTED if "use_defaults" in question else ()
            by_grpc = []
            for i, row in enumerate(answer.rows):
                values, statuses, moments = natural.packed_row(pb, answer.schema, row, defaults)
                one = {"values": values, "statuses": statuses, "event_timestamps": moments}
                if "entities" in question:
                    one["entities"] = {key: ids[i] for key, ids in question["entities"].items()}
                else:
                    one["entity_id"] = question["entity_ids"][i]
                by_grpc.append(one)
            self.equal(f"GetOnlineFeatures {what}: results", by_rest["results"], by_grpc)
            schema = {f.name: {"ref": f.ref, "dtype": natural.dtype_of(f)} for f in answer.schema.features}
            self.equal(f"GetOnlineFeatures {what}: features", by_rest["features"], schema)
            own = json_format.ParseDict(packed, pb.GetOnlineFeaturesResponse())
            self.report.check(f"GetOnlineFeatures {what}: packed JSON is the message", settled(own) == settled(answer), "" if settled(own) == settled(answer) else f"{str(own)[:300]} / {str(answer)[:300]}")
        held = online_proto(pb, questions["now"])
        held.schema_id = self.grpc.unary("GetOnlineFeatures", held).schema_id
        short = self.grpc.unary("GetOnlineFeatures", held)
        self.report.check("a held schema is left out", not short.HasField("schema") and short.schema_id == held.schema_id)
        text = self.rest.good("POST", "/features/online", {**questions["as_of between"], "features": ["ra_a_int64"], "int64": "string"}).json()
        self.report.equal('"int64": "string"', "9223372036854775807", text["results"][0]["values"]["ra_a_int64"])

    def training_sets(self):
        pb = self.pb
        names = ["ra_country", "ra_affinity", "ra_risk", *[f"ra_{name}" for name, *_ in FEATURES]]
        spine = [(user, "m" if i % 2 else "nobody", moment, i * 0.5) for i, user in enumerate([*IDS, "nobody"]) for moment in (T[0] - 1, *T)]
        rows = [{"ra_user": u, "ra_merchant": m, "timestamp": format_us(t), "label": label} for u, m, t, label in spine]
        for what, extra in (("plain", {}), ("max_age", {"max_age": "10d"}), ("defaults", {"use_defaults": True}), ("known_at row", {"known_at": "row"})):
            options = {"features": names, "details": True, **extra}
            by_rest = self.api("POST", "/features/batch", {**options, "spine": rows}).json()["rows"]
            message = pb.HistoricalOptions(features=names, details=True, use_defaults=extra.get("use_defaults", False))
            if "max_age" in extra:
                message.max_age.seconds = 864_000
            if "known_at" in extra:
                message.known_at_row = True
            requests = [pb.GetHistoricalFeaturesRequest(options=message)] + [
                pb.GetHistoricalFeaturesRequest(rows=pb.SpineRows(rows=[
                    pb.SpineRow(entities={"ra_user": u, "ra_merchant": m}, timestamp=proto(Timestamp, t), columns={"label": pb.Value(float64_value=label)}) for u, m, t, label in piece
                ])) for piece in (spine[:7], spine[7:])
            ]
            by_grpc, schema = [], None
            for answer in self.rpc_stream("GetHistoricalFeatures", requests):
                if answer.HasField("header"):
                    schema = answer.header.schema
                for row in answer.rows.rows:
                    values, statuses, moments = natural.packed_row(pb, schema, row.features, DEFAULTED if "use_defaults" in extra else ())
                    by_grpc.append({
                        **dict(row.spine.entities), "timestamp": format_us(of_proto(row.spine.timestamp)), "label": row.spine.columns["label"].float64_value,
                        **values, "statuses": statuses, "event_timestamps": moments,
                    })
            self.equal(f"GetHistoricalFeatures {what}: JSON, {len(by_rest)} rows", by_rest, by_grpc)
            lines = "\n".join([json.dumps(options), *[json.dumps(row) for row in rows]]).encode()
            nd = {"Content-Type": rest.NDJSON}
            by_ndjson = [json.loads(line) for line in self.rest.good("POST", "/features/batch", lines, nd).body.splitlines()]
            self.equal(f"GetHistoricalFeatures {what}: NDJSON", by_ndjson, by_grpc)
            parquet = pq.read_table(io.BytesIO(self.rest.good("POST", "/features/batch", lines, {**nd, "Accept": rest.PARQUET}).body))
            arrow = pa.ipc.open_stream(self.rest.good("POST", "/features/batch", lines, {**nd, "Accept": rest.ARROW}).body).read_all()
            ipc = io.BytesIO()
            table = pa.table({"ra_user": [u for u, *_ in spine], "ra_merchant": [m for _, m, *_ in spine], "timestamp": pa.array([t for *_, t, _ in spine]).cast(pa.timestamp("us", "UTC")), "label": [x for *_, x in spine]})
            with pa.ipc.new_stream(ipc, table.schema) as writer:
                writer.write_table(table)
            message.format = pb.HISTORICAL_FORMAT_ARROW
            pieces = [a.arrow_ipc for a in self.grpc.stream("GetHistoricalFeatures", [pb.GetHistoricalFeaturesRequest(options=message), pb.GetHistoricalFeaturesRequest(arrow_ipc=ipc.getvalue())]) if a.HasField("arrow_ipc") or a.WhichOneof("part") == "arrow_ipc"]
            by_arrow = pa.concat_tables([pa.ipc.open_stream(p).read_all() for p in pieces])
            body = self.rest.good("POST", f"/features/batch?request={quoted(json.dumps(options))}", ipc.getvalue(), {"Content-Type": rest.ARROW, "Accept": rest.ARROW}).body
            for way, columns in (("Parquet", parquet), ("Arrow out", arrow), ("gRPC Arrow", by_arrow), ("Arrow in and out", pa.ipc.open_stream(body).read_all())):
                self.no_lack(f"GetHistoricalFeatures {what}: {way}", column_differences(columns, by_grpc, names))

    def errors(self):
        """The same mistake is told in the same words."""
        pb = self.pb
        for what, body, request in (
            ("unknown feature", {"features": ["no_such"], "entity_ids": ["a"]}, pb.GetOnlineFeaturesRequest(features=["no_such"], entity_ids=["a"])),
            ("duplicate", {"features": ["ra_country", "ra_country"], "entity_ids": ["a"]}, pb.GetOnlineFeaturesRequest(features=["ra_country"] * 2, entity_ids=["a"])),
            ("empty id", {"features": ["ra_country"], "entity_ids": [""]}, pb.GetOnlineFeaturesRequest(features=["ra_country"], entity_ids=[""])),
        ):
            answer = self.rest.call("POST", "/features/online", body).json()
            try:
                self.grpc.unary("GetOnlineFeatures", request)
                said = "OK"
            except grpc.RpcError as error:
                said = error.details()
            self.equal(f"error: {what}", f"{answer['field']}: {answer['detail']}" if "field" in answer else answer["detail"], said)


def online_proto(pb, question):
    request = pb.GetOnlineFeaturesRequest(
        features=question.get("features", []), feature_set=question.get("feature_set", ""), entity_ids=question.get("entity_ids", []),
        entities={key: pb.EntityIds(ids=ids) for key, ids in question.get("entities", {}).items()}, use_defaults=question.get("use_defaults", False),
    )
    if "as_of" in question:
        request.as_of.CopyFrom(proto(Timestamp, parse_us(question["as_of"])))
    if "max_age" in question:
        request.max_age.seconds = int(question["max_age"].removesuffix("d")) * 86400
    return request


def column_differences(table, rows, names):
    """A table against rows of natural JSON."""
    found = [] if table.num_rows == len(rows) else [f"{table.num_rows} rows, not {len(rows)}"]

    def plain(value):
        if isinstance(value, datetime.datetime):
            return format_us((value - EPOCH) // MICROSECOND)
        if isinstance(value, Decimal):
            return format(value, "f")
        if isinstance(value, bytes):
            return base64.b64encode(value).decode()
        if isinstance(value, list):
            return [plain(v) for v in value]
        if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
            return "NaN" if value != value else "Infinity" if value > 0 else "-Infinity"
        return value

    def check(column, i, want, as_json=False):
        got = plain(columns[column][i])
        if as_json and isinstance(got, str):
            got = json.loads(got)
        if not natural.same(got, want):
            found.append(f"row {i} {column}: {got!r}, not {want!r}")

    columns = {name: table.column(name).to_pylist() for name in table.column_names}
    for i, row in enumerate(rows[:table.num_rows]):
        for name in ("ra_user", "ra_merchant", "timestamp", "label"):
            check(name, i, row[name])
        for name in names:
            check(name, i, row[name], name == "ra_a_json")
            check(f"{name}__status", i, row["statuses"][name])
            check(f"{name}__event_timestamp", i, row["event_timestamps"][name])
    return found[:5] + ([f"… {len(found)} in all"] if len(found) > 5 else [])
