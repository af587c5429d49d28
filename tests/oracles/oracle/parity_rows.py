"""Writes, history and invalidation through both doors."""

import base64
import json

from google.protobuf import json_format
from google.protobuf.timestamp_pb2 import Timestamp

from . import natural, rest
from .moments import format_us, of_proto, parse_us, proto
from .parity_ask import FEATURES, IDS, T, Asking, counts, grpc_pages, pages, query, unprefixed


class Rows(Asking):
    def rows(self, prefix):
        """(entity, moment, values as natural JSON): all kinds twice, a row that is unchanged, and a correction. Written again
        the first row differs from its correction and is stored once more, and so is the correction: five values each."""
        rows = []
        for entity in IDS:
            first = {prefix + name: one for name, _, _, one, _ in FEATURES}
            second = {prefix + name: two for name, _, _, _, two in FEATURES}
            rows += [(entity, T[0], first), (entity, T[2], second), (entity, T[0], first), (entity, T[0], {**first, prefix + "a_int64": 5})]
        return rows

    def writes(self):
        pb = self.pb
        as_json = [{"entity_type": "ra_user", "entity_id": e, "event_timestamp": format_us(t), "values": v} for e, t, v in self.rows("ra_")]
        as_proto = [self.row_proto("ga_", *row) for row in self.rows("ga_")]
        half = len(as_json) // 2
        for repeat in ("first", "again"):
            by_rest = self.api("POST", "/features/write", {"rows": as_json[:half]}).json()
            by_grpc = self.rpc("WriteFeatures", pb.WriteFeaturesRequest(rows=as_proto[:half]))
            self.equal(f"WriteFeatures {repeat}", counts(by_rest), [by_grpc.accepted, by_grpc.unchanged, len(by_grpc.rejected)])
        lines = "\n".join(json.dumps(row) for row in as_json[half:]).encode()
        for repeat in ("first", "again"):
            by_rest = self.api("POST", "/features/write", lines, {"Content-Type": rest.NDJSON}).json()
            answers = self.rpc_stream("StreamWriteFeatures", [pb.StreamWriteFeaturesRequest(rows=as_proto[half:])])
            self.equal(f"StreamWriteFeatures against NDJSON, {repeat}", counts(by_rest), [answers[0].accepted, answers[0].unchanged, len(answers[0].rejected)])
        # The rest: profile, risk and a composite key, spanning three entity types in one row.
        spanning = {"entities": {"ra_user": "plain", "ra_merchant": "m"}, "event_timestamp": format_us(T[0]), "values": {"ra_country": "GB", "ra_risk": None, "ra_affinity": 0.25}}
        message = pb.FeatureRow(entities={"ga_user": "plain", "ga_merchant": "m"}, event_timestamp=proto(Timestamp, T[0]))
        message.values["ga_country"].string_value, message.values["ga_risk"].null_value, message.values["ga_affinity"].float64_value = "GB", True, 0.25
        by_rest, by_grpc = self.rest.good("POST", "/features/write", {"rows": [spanning]}).json(), self.grpc.unary("WriteFeatures", pb.WriteFeaturesRequest(rows=[message]))
        self.equal("a row over three groups", counts(by_rest), [by_grpc.accepted, by_grpc.unchanged, len(by_grpc.rejected)])
        # Rejects of one bad row among good ones.
        bad = {**as_json[0], "values": {**as_json[0]["values"], "ra_a_int64": "x"}}
        wrong = pb.FeatureRow()
        wrong.CopyFrom(as_proto[0])
        wrong.values["ga_a_int64"].string_value = "x"
        by_rest = self.rest.good("POST", "/features/write?partial=true", {"rows": [as_json[0], bad]}).json()
        by_grpc = self.grpc.unary("WriteFeatures", pb.WriteFeaturesRequest(rows=[as_proto[0], wrong], partial=True))
        self.equal("partial: rejects", [[r["row"], unprefixed(r["field"], "ra_")] for r in by_rest["rejected"]], [[r.row, unprefixed(r.field, "ga_")] for r in by_grpc.rejected])

    def row_proto(self, prefix, entity, moment_us, values):
        row = self.pb.FeatureRow(entity_type=f"{prefix}user", entity_id=entity, event_timestamp=proto(Timestamp, moment_us))
        for name, dtype, *_ in FEATURES:
            set_value(row.values[prefix + name], values[prefix + name], dtype)
        return row

    def history(self):
        pb = self.pb
        for entity in IDS:
            for name, dtype, group, *_ in FEATURES:
                for prefix in ("ra_", "ga_"):
                    def page_rest(token, size=0, more=""):
                        return self.api("GET", "/features/{name}/history", None, None, name=prefix + name, query=query({"entity_id": entity}, size, token) + more).json()

                    by_rest = [(v["event_timestamp"], v.get("created_timestamp"), v["value"]) for v in pages(lambda t: page_rest(t, 2), "values")]
                    by_grpc = [
                        (format_us(of_proto(v.event_timestamp)), format_us(of_proto(v.created_timestamp)), natural.value(v.value, dtype))
                        for page in grpc_pages(lambda t: self.rpc("GetFeatureHistory", pb.GetFeatureHistoryRequest(feature=prefix + name, entity_id=entity, page_size=2, page_token=t)))
                        for v in page.values
                    ]
                    # Only the kinds were corrected; the first entity's once more in the partial write.
                    stored = 2 if group != "kinds" else 6 if entity == IDS[0] else 5
                    if not natural.same([list(v) for v in by_rest], [list(v) for v in by_grpc]) or len(by_rest) != stored:
                        what = f"GetFeatureHistory {prefix + name} of {entity[:12]!r}"
                        self.equal(what, [list(v) for v in by_rest], [list(v) for v in by_grpc])
                        self.report.equal(f"{what}: values", stored, len(by_rest))
        self.report.check(f"GetFeatureHistory: {len(IDS) * len(FEATURES) * 2} histories walked by pages of 2", True)
        bounds = f"&from={format_us(T[0])}&to={format_us(T[2])}"
        by_rest = self.rest.good("GET", f"/features/ra_a_int64/history?entity_id=plain{bounds}").json()["values"]
        by_grpc = self.grpc.unary("GetFeatureHistory", pb.GetFeatureHistoryRequest(feature="ra_a_int64", entity_id="plain", to=proto(Timestamp, T[2]), **{"from": proto(Timestamp, T[0])})).values
        self.equal("GetFeatureHistory from (inclusive) to (exclusive)", [v["value"] for v in by_rest], [v.value.int64_value for v in by_grpc])
        self.report.equal("… the first, its correction, both again, and the first", [9223372036854775807, 5, 9223372036854775807, 5, 9223372036854775807], [v["value"] for v in by_rest])

    def invalidation(self):
        pb = self.pb
        answers = [
            self.api("DELETE", "/cache/invalidate/{entity_id}", entity_id=IDS[1]).json(),
            self.api("DELETE", "/cache/invalidate/{entity_id}", None, None, "?entity_type=ra_user&feature=ra_country", entity_id="plain").json(),
            self.api("POST", "/cache/invalidate", {"entities": {"ra_user": "plain", "ra_merchant": "m"}, "features": ["ra_affinity"]}).json(),
        ]
        for request in (pb.InvalidateCacheRequest(entity_id=IDS[1]), pb.InvalidateCacheRequest(entity_id="plain", entity_type="ra_user", features=["ra_country"]), pb.InvalidateCacheRequest(entities={"ra_user": "plain", "ra_merchant": "m"}, features=["ra_affinity"])):
            answers.append(json_format.MessageToDict(self.rpc("InvalidateCache", request), preserving_proto_field_name=True))
        self.report.check("InvalidateCache: six times the same", all(a == {"invalidated": True} for a in answers), answers)


def set_value(target, value, dtype):
    if value is None:
        target.null_value = True
    elif dtype.startswith("list<"):
        element = dtype[5:-1]
        values = getattr(target.list_value, natural.ARRAYS[element])
        blank = {"bool": False, "int64": 0, "float64": 0.0, "float32": 0.0, "string": "", "bytes": b"", "timestamp": 0}[element]
        target.list_value.SetInParent()
        for position, item in enumerate(value):
            if item is None:
                target.list_value.null_positions.append(position)
                values.append(blank)
            else:
                values.append(parse_us(item) if element == "timestamp" else base64.b64decode(item) if element == "bytes" else item)
    elif dtype == "timestamp":
        target.timestamp_value.CopyFrom(proto(Timestamp, parse_us(value)))
    elif dtype == "bytes":
        target.bytes_value = base64.b64decode(value)
    elif dtype.startswith("decimal("):
        target.decimal_value = value
    elif dtype == "json":
        target.json_value = json.dumps(value)
    else:
        number = float(value) if dtype.startswith("float") and isinstance(value, str) else value
        setattr(target, f"{dtype}_value", number)
