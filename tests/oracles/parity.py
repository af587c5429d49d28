#!/usr/bin/env python3
"""One question, one answer: every RPC and every REST path, compared; then every RPC again through grpcurl by reflection.

Mutating calls are made twice over mirrored names (`ra…` through REST, `ga…` through gRPC) and compared after renaming.
At the end it checks that no RPC of the service and no path of the OpenAPI document was left out.

    python3 parity.py --larder target/release/larder     # its own server
    python3 parity.py URL KEY                            # a server that runs already, on an empty store
"""

import argparse
import io
import json
import pathlib
import re
import shutil
import sys
import tempfile

import pyarrow as pa
import pyarrow.parquet as pq
from google.protobuf import json_format
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from oracle import natural, rest
from oracle.grpcurl import Grpcurl, find
from oracle.moments import format_us, of_proto, parse_us, proto
from oracle.report import Report
from oracle.rest import Rest, quoted
from oracle.server import Server
from oracle.stubs import Grpc

T = [parse_us(t) for t in ("2024-01-15T14:22:00Z", "2024-01-15T14:22:00.5Z", "2024-01-16T09:00:00.000001Z", "2024-02-01T00:00:00Z")]
IDS = ["plain", "%41:{x}*🦊/..?#&=+ ", "\u00e9", "e\u0301", "7", "x" * 256]

# name, dtype, group, then for two moments a value as natural JSON
FEATURES = [
    ("a_bool", "bool", "kinds", True, None), ("a_int64", "int64", "kinds", 9223372036854775807, -1), ("a_float64", "float64", "kinds", 0.1, 1e300),
    ("a_float32", "float32", "kinds", 0.1, 3.0), ("a_string", "string", "kinds", "naïve 🦊 \"quoted\"\n", ""), ("a_bytes", "bytes", "kinds", "AP8B", ""),
    ("a_timestamp", "timestamp", "kinds", "2023-12-31T23:59:59.999999Z", "1969-12-31T23:59:59Z"),
    ("a_json", "json", "kinds", {"z": [1, None, {"y": 0.5}], "a": "ä"}, None), ("a_list_bool", "list<bool>", "lists", [True, None, False], []),
    ("a_list_int64", "list<int64>", "lists", [1, None, -9223372036854775808], []), ("a_list_float64", "list<float64>", "lists", [0.5, None], [1.5]),
    ("a_list_float32", "list<float32>", "lists", [0.1, 0.2, None], [1.0]), ("a_list_string", "list<string>", "lists", ["a", None, ""], []),
    ("a_list_bytes", "list<bytes>", "lists", ["AP8=", None], []), ("a_list_timestamp", "list<timestamp>", "lists", ["2024-01-01T00:00:00Z", None], []),
    ("a_odd", "float64", "odd", "NaN", "-Infinity"),
]


class Parity:
    def __init__(self, url, key, report):
        self.url, self.key, self.report = url, key, report
        self.rest, self.grpc = Rest(url, key), Grpc(url, key)
        self.pb = self.grpc.pb
        self.asked_rest, self.asked_rpc, self.examples = set(), set(), {}

    # --- asking ---

    def get(self, method, template, body=None, headers=None, query="", **path):
        """Fills `{…}` of the template, remembers the path as asked, and returns the answer."""
        self.asked_rest.add((method, template))
        filled = re.sub(r"\{(\w+)\}", lambda m: quoted(path[m.group(1)]), template)
        prefixed = "/" + filled if template.startswith("/") and not template.startswith("/api/") else filled.removeprefix(rest.API)
        return self.rest.good(method, prefixed + query, body, headers)

    def api(self, method, template, *more, **path):
        return self.get(method, rest.API + template, *more, **path)

    def rpc(self, name, request):
        self.asked_rpc.add(name)
        self.examples[name] = ([request], self.grpc.unary(name, request))
        return self.examples[name][1]

    def rpc_stream(self, name, requests):
        self.asked_rpc.add(name)
        answers = list(self.grpc.stream(name, requests))
        self.examples[name] = (requests, answers)
        return answers

    def equal(self, what, by_rest, by_grpc):
        ok = natural.same(by_rest, by_grpc)
        self.report.check(what, ok, "" if ok else f"REST {json.dumps(by_rest, ensure_ascii=False)[:600]} / gRPC {json.dumps(by_grpc, ensure_ascii=False)[:600]}")

    def no_lack(self, what, found):
        self.report.check(what, not found, "; ".join(found)[:900])

    # --- catalogue ---

    def register(self):
        pb = self.pb
        dtype_numbers = {name: number for number, name in natural.DTYPES.items()}

        def body(prefix):
            return {
                "entity_types": [{"name": f"{prefix}pair", "keys": [f"{prefix}user", f"{prefix}merchant"]}],
                "features": [
                    {"name": prefix + name, "entity_type": f"{prefix}user", "dtype": dtype, "group": prefix + group, **({"allow_non_finite": True} if group == "odd" else {})}
                    for name, dtype, group, *_ in FEATURES
                ] + [
                    {"name": f"{prefix}country", "entity_type": f"{prefix}user", "dtype": "string", "group": f"{prefix}profile", "ttl": "30d", "cache_ttl": "90m",
                     "description": "ISO country", "owner": "growth", "tags": {"pii": "no"}, "default": "unknown"},
                    {"name": f"{prefix}risk", "entity_type": f"{prefix}merchant", "dtype": "float64", "default": 0.5},
                    {"name": f"{prefix}affinity", "entity_type": f"{prefix}pair", "dtype": "float64"},
                ],
            }

        def message(prefix):
            asked = body(prefix)
            definitions = []
            for f in asked["features"]:
                definition = pb.FeatureDefinition(
                    name=f["name"], entity_type=f["entity_type"], dtype=dtype_numbers[f["dtype"]], group=f.get("group", ""),
                    description=f.get("description", ""), owner=f.get("owner", ""), tags=f.get("tags", {}), allow_non_finite=f.get("allow_non_finite", False),
                )
                if "ttl" in f:
                    definition.ttl.CopyFrom(Duration(seconds=30 * 86400))
                    definition.cache_ttl.CopyFrom(Duration(seconds=5400))
                if f.get("default") == "unknown":
                    definition.default_value.string_value = "unknown"
                elif "default" in f:
                    definition.default_value.float64_value = f["default"]
                definitions.append(definition)
            return pb.RegisterFeaturesRequest(entity_types=[pb.EntityType(**t) for t in asked["entity_types"]], features=definitions)

        for outcome in ("created", "unchanged"):
            by_rest = self.api("POST", "/features/register", body("ra_")).json()
            by_grpc = self.rpc("RegisterFeatures", message("ga_"))
            self.equal(f"RegisterFeatures {outcome}: entity_types_created", unprefixed(by_rest["entity_types_created"], "ra_"), unprefixed(list(by_grpc.entity_types_created), "ga_"))
            self.report.equal(f"RegisterFeatures {outcome}: features in the order of the request", [f["name"] for f in body("ra_")["features"]], [f["name"] for f in by_rest["features"]])
            for a, b in zip(by_rest["features"], by_grpc.features, strict=True):
                shown = dict(a)
                words = [k for k, v in shown.items() if v == outcome]
                said = pb.RegistrationOutcome.Name(b.outcome).removeprefix("REGISTRATION_OUTCOME_").lower()
                if not words or said != outcome:
                    self.report.check(f"RegisterFeatures {outcome}: {a.get('name')}", False, f"REST {shown}, gRPC {said}")
                for word in words:
                    del shown[word]
                flat = natural.feature(pb, b.feature)
                for own in ("id", "revision", "created_at"):
                    shown.pop(own, None), flat.pop(own, None)
                if found := natural.lacking(unprefixed(shown, "ra_"), unprefixed(flat, "ga_")):
                    self.no_lack(f"RegisterFeatures {outcome}: {a['name']}", found)
            self.report.check(f"RegisterFeatures {outcome}: {len(by_rest['features'])} features compared", True)
        # The same question through the other door.
        self.report.equal("registered by REST, unchanged by gRPC", {pb.REGISTRATION_OUTCOME_UNCHANGED}, {f.outcome for f in self.grpc.unary("RegisterFeatures", message("ra_")).features})
        again = self.rest.good("POST", "/features/register", body("ga_")).json()
        self.report.check("registered by gRPC, unchanged by REST", all("unchanged" in f.values() for f in again["features"]), "")

    def catalogue(self):
        pb = self.pb
        for name in ("ra_country", "ra_profile.ra_country", "ra_profile.ra_country@1", "ga_country@1", "ga_a_json"):
            self.no_lack(f"GetFeature {name}", natural.lacking(self.api("GET", "/features/{name}", name=name).json(), natural.feature(pb, self.rpc("GetFeature", pb.GetFeatureRequest(feature=name)).feature)))
        filters = ({}, {"entity_type": "ra_user"}, {"group": "ga_lists"}, {"tag": "pii"}, {"tag": "pii=no"}, {"tag": "pii=yes"}, {"name_prefix": "ra_a_"}, {"entity_type": "ga_user", "group": "ga_kinds", "name_prefix": "ga_a_b"})
        for size in (0, 3):
            for chosen in filters:
                by_rest = pages(lambda token: self.api("GET", "/features", None, None, query(chosen, size, token)).json(), "features")
                by_grpc = [
                    natural.feature(pb, f)
                    for page in grpc_pages(lambda token: self.rpc("ListFeatures", pb.ListFeaturesRequest(page_size=size, page_token=token, **chosen)))
                    for f in page.features
                ]
                found = [f"{len(by_rest)} and {len(by_grpc)} features"] if len(by_rest) != len(by_grpc) else []
                found += [line for a, b in zip(by_rest, by_grpc) for line in natural.lacking(a, b)]
                refs = [f["ref"] for f in by_grpc]
                found += [] if refs == sorted(refs) and len(set(refs)) == len(refs) else ["not ordered by reference"]
                self.no_lack(f"ListFeatures {chosen} by {size or 'default'}: {len(by_rest)} features", found)
        # A second version: draft by either door, active by REST, deprecated by gRPC.
        self.rest.good("POST", "/features/register", {"features": [{"name": "ra_risk", "entity_type": "ra_merchant", "dtype": "float64", "version": 2}]})
        by_rest = self.api("POST", "/features/{name}/status", {"status": "active"}, name="ra_risk@2").json()
        by_rest = by_rest.get("feature", by_rest)
        by_grpc = self.rpc("SetFeatureStatus", pb.SetFeatureStatusRequest(feature="ra_risk@2", status=pb.FEATURE_VERSION_STATUS_ACTIVE))
        self.no_lack("SetFeatureStatus active", natural.lacking(by_rest, natural.feature(pb, by_grpc.feature)))
        self.rpc("SetFeatureStatus", pb.SetFeatureStatusRequest(feature="ra_risk@2", status=pb.FEATURE_VERSION_STATUS_DEPRECATED))
        self.equal("deprecated by gRPC, seen by REST", self.rest.good("GET", "/features/ra_risk@2").json()["status"], "deprecated")
        self.equal("the bare name is version 1 again", self.rest.good("GET", "/features/ra_risk").json()["ref"], self.grpc.unary("GetFeature", pb.GetFeatureRequest(feature="ra_risk")).feature.ref)

    def feature_sets(self):
        pb = self.pb
        for content in (["ra_country", "ra_a_int64"], ["ra_country", "ra_a_int64"], ["ra_profile.ra_country", "ra_risk"]):
            by_rest = self.api("PUT", "/feature-sets/{name}", {"features": content}, name="ra_set").json()
            by_grpc = natural.feature_set(self.rpc("PutFeatureSet", pb.PutFeatureSetRequest(name="ga_set", features=content)).feature_set)
            by_rest, by_grpc = by_rest.get("feature_set", by_rest), by_grpc
            for own in ("name", "created_at"):
                by_rest.pop(own, None), by_grpc.pop(own, None)
            self.no_lack(f"PutFeatureSet {content}", natural.lacking(by_rest, by_grpc))
        for name in ("ra_set", "ra_set@1", "ga_set@2"):
            by_rest = self.api("GET", "/feature-sets/{name}", name=name).json()
            self.no_lack(f"GetFeatureSet {name}", natural.lacking(by_rest.get("feature_set", by_rest), natural.feature_set(self.rpc("GetFeatureSet", pb.GetFeatureSetRequest(name=name)).feature_set)))
        for size in (0, 1):
            by_rest = pages(lambda token: self.api("GET", "/feature-sets", None, None, query({}, size, token)).json(), "feature_sets")
            by_grpc = [natural.feature_set(s) for page in grpc_pages(lambda token: self.rpc("ListFeatureSets", pb.ListFeatureSetsRequest(page_size=size, page_token=token))) for s in page.feature_sets]
            self.no_lack(f"ListFeatureSets by {size or 'default'}: {len(by_rest)}", [f"{len(by_rest)} and {len(by_grpc)}"] * (len(by_rest) != len(by_grpc)) + [line for a, b in zip(by_rest, by_grpc) for line in natural.lacking(a, b)])

    # --- rows ---

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
            for name, dtype, *_ in FEATURES:
                for prefix in ("ra_", "ga_"):
                    def page_rest(token, size=0, more=""):
                        return self.api("GET", "/features/{name}/history", None, None, name=prefix + name, query=query({"entity_id": entity}, size, token) + more).json()

                    by_rest = [(v["event_timestamp"], v.get("created_timestamp"), v["value"]) for v in pages(lambda t: page_rest(t, 2), "values")]
                    by_grpc = [
                        (format_us(of_proto(v.event_timestamp)), format_us(of_proto(v.created_timestamp)), natural.value(v.value, dtype))
                        for page in grpc_pages(lambda t: self.rpc("GetFeatureHistory", pb.GetFeatureHistoryRequest(feature=prefix + name, entity_id=entity, page_size=2, page_token=t)))
                        for v in page.values
                    ]
                    if not natural.same([list(v) for v in by_rest], [list(v) for v in by_grpc]) or len(by_rest) != 5:
                        self.equal(f"GetFeatureHistory {prefix + name} of {entity[:12]!r} (5 values)", [list(v) for v in by_rest], [list(v) for v in by_grpc])
        self.report.check(f"GetFeatureHistory: {len(IDS) * len(FEATURES) * 2} histories walked by pages of 2", True)
        bounds = f"&from={format_us(T[0])}&to={format_us(T[2])}"
        by_rest = self.rest.good("GET", f"/features/ra_a_int64/history?entity_id=plain{bounds}").json()["values"]
        by_grpc = self.grpc.unary("GetFeatureHistory", pb.GetFeatureHistoryRequest(feature="ra_a_int64", entity_id="plain", to=proto(Timestamp, T[2]), **{"from": proto(Timestamp, T[0])})).values
        self.equal("GetFeatureHistory from (inclusive) to (exclusive)", [v["value"] for v in by_rest], [v.value.int64_value for v in by_grpc])
        self.report.equal("… the first, its correction, and both again", [9223372036854775807, 5] * 2, [v["value"] for v in by_rest])

    # --- reads ---

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
            defaults = question.get("use_defaults", False)
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
            schema = {f.name: {"ref": f.ref, "dtype": natural.DTYPES[f.dtype]} for f in answer.schema.features}
            self.equal(f"GetOnlineFeatures {what}: features", by_rest["features"], schema)
            own = json_format.ParseDict(packed, pb.GetOnlineFeaturesResponse())
            self.report.check(f"GetOnlineFeatures {what}: packed JSON is the message", settled(own) == settled(answer), "" if settled(own) == settled(answer) else f"{str(own)[:300]} / {str(answer)[:300]}")
        held = online_proto(pb, questions["now"])
        held.schema_id = self.grpc.unary("GetOnlineFeatures", held).schema_id
        short = self.grpc.unary("GetOnlineFeatures", held)
        self.report.check("a held schema is left out", not short.HasField("schema") and short.schema_id == held.schema_id)
        text = self.rest.good("POST", "/features/online", {**questions["as_of between"], "features": ["ra_a_int64"], "int64": "string"}).json()
        self.report.equal('"int64": "string"', "5", text["results"][0]["values"]["ra_a_int64"])

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
                    values, statuses, moments = natural.packed_row(pb, schema, row.features, "use_defaults" in extra)
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

    def errors(self):
        """The same mistake is told in the same words."""
        import grpc as library

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
            except library.RpcError as error:
                said = error.details()
            self.equal(f"error: {what}", answer["detail"], said)

    def own_pages(self):
        for path in ("/health", "/ready", "/metrics"):
            self.get("GET", path)
            self.report.check(f"GET {path}", True)
        document = self.get("GET", rest.API + "/openapi.json").json()
        self.get("GET", "/docs")
        offered = {(method.upper(), path) for path, verbs in document["paths"].items() for method in verbs if method in ("get", "post", "put", "delete", "patch")}
        shape = lambda pairs: {(m, re.sub(r"\{\w+\}", "{}", p)) for m, p in pairs}  # noqa: E731
        self.report.check("every path of the OpenAPI document was asked", not shape(offered) - shape(self.asked_rest), sorted(shape(offered) - shape(self.asked_rest)) or "")
        self.report.check("every path asked stands in the OpenAPI document", not shape(self.asked_rest) - shape(offered), sorted(shape(self.asked_rest) - shape(offered)) or "")
        service = {method.name for method in self.pb.SERVICE.methods}
        self.report.check(f"every RPC of the service was asked ({len(service)})", service == self.asked_rpc, sorted(service - self.asked_rpc) or "")

    def reflection(self):
        binary = find()
        if not binary:
            print("     grpcurl is not installed: skipped")
            return
        curl = Grpcurl(binary, self.url, self.key)
        services = curl.list()
        self.report.check("grpcurl list", {"larder.v1.FeatureService", "grpc.health.v1.Health"} <= set(services), services)
        methods = curl.list("larder.v1.FeatureService")
        self.report.equal("grpcurl list larder.v1.FeatureService", sorted(f"larder.v1.FeatureService.{m.name}" for m in self.pb.SERVICE.methods), sorted(methods))
        for method in self.pb.SERVICE.methods:
            name = method.name
            described = curl.describe(f"larder.v1.FeatureService.{name}")
            shown = curl.describe(f".larder.v1.{method.input_type.name}")
            self.report.check(f"grpcurl describe {name}", f"rpc {name}" in described and method.input_type.name in shown)
            if name not in self.examples:
                continue
            requests, _ = self.examples[name]
            kind = getattr(self.pb, method.output_type.name)

            def both(name=name, requests=requests, kind=kind, method=method):
                streaming = method.client_streaming
                if streaming:
                    direct = list(self.grpc.stream(name, requests))
                else:
                    direct = [self.grpc.unary(name, requests[0])]
                by_curl = curl.call(f"larder.v1.FeatureService/{name}", requests, kind)
                same = [settled(a) for a in direct] == [settled(b) for b in by_curl]
                self.report.check(f"grpcurl {name} answers as the stub", same, "" if same else f"{str(direct)[:300]} / {str(by_curl)[:300]}")

            self.report.attempt(f"grpcurl {name}", both)


# --- helpers --------------------------------------------------------------------------------------------------------

def unprefixed(value, prefix):
    return json.loads(re.sub(rf"(?<![a-z0-9_]){prefix}", "", json.dumps(value)))


def counts(answer):
    return [answer["accepted"], answer["unchanged"], len(answer["rejected"])]


def query(filters, size, token):
    parts = [f"{name}={quoted(value)}" for name, value in filters.items()]
    if size:
        parts.append(f"page_size={size}")
    if token:
        parts.append(f"page_token={quoted(token)}")
    return "?" + "&".join(parts) if parts else ""


def pages(ask, name):
    found, token = [], ""
    while True:
        page = ask(token)
        found += page[name]
        token = page.get("next_page_token", "")
        if not token:
            return found


def grpc_pages(ask):
    token = ""
    while True:
        page = ask(token)
        yield page
        token = page.next_page_token
        if not token:
            return


def settled(message):
    """Without what may differ from call to call."""
    copy = type(message)()
    copy.CopyFrom(message)
    for name in ("request_id", "server_duration_us", "created_timestamp"):
        if name in copy.DESCRIPTOR.fields_by_name:
            copy.ClearField(name)
    if "header" in copy.DESCRIPTOR.fields_by_name and copy.HasField("header"):
        copy.header.ClearField("request_id")
        copy.header.ClearField("settled_at")
    return copy.SerializeToString(deterministic=True)


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
                values.append(parse_us(item) if element == "timestamp" else base64_decoded(item) if element == "bytes" else item)
    elif dtype == "timestamp":
        target.timestamp_value.CopyFrom(proto(Timestamp, parse_us(value)))
    elif dtype == "bytes":
        target.bytes_value = base64_decoded(value)
    elif dtype == "json":
        target.json_value = json.dumps(value)
    else:
        number = float(value) if dtype.startswith("float") and isinstance(value, str) else value
        setattr(target, f"{dtype}_value", number)


def base64_decoded(text):
    import base64

    return base64.b64decode(text)


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
        import base64
        import datetime

        if isinstance(value, datetime.datetime):
            return format_us(round((value - datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)) / datetime.timedelta(microseconds=1)))
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


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url", nargs="?")
    parser.add_argument("key", nargs="?")
    parser.add_argument("--larder", help="start this binary with a data directory of its own")
    arguments = parser.parse_args()
    report = Report()

    def run(url, key):
        parity = Parity(url, key, report)
        for step in (parity.register, parity.catalogue, parity.feature_sets, parity.writes, parity.history, parity.online, parity.training_sets, parity.invalidation, parity.errors, parity.own_pages, parity.reflection):
            report.attempt(step.__name__, step)

    if arguments.larder:
        directory = pathlib.Path(tempfile.mkdtemp(prefix="larder-parity-"))
        try:
            with Server(arguments.larder, directory / "data") as server:
                run(server.url, server.key)
                report.check("no panic in the log", "panicked" not in server.log())
        finally:
            shutil.rmtree(directory, ignore_errors=True)
    elif arguments.url and arguments.key:
        run(arguments.url, arguments.key)
    else:
        parser.error("either URL and KEY, or --larder")
    return report.finish()


if __name__ == "__main__":
    sys.exit(main())
