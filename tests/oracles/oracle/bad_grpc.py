"""The bad-input table through gRPC."""

import io
import threading
import time

import grpc
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from .bad_rest import arrow_spine
from .bad_setup import PAST, in_minutes, judge_grpc
from .moments import parse_us, proto

PAST_US = parse_us(PAST)
SERVICE = "/larder.v1.FeatureService/"
LIMITED = {"RESOURCE_EXHAUSTED", "OUT_OF_RANGE"}


def cases(client, findings, key, memory_mib):
    pb = client.pb
    past = proto(Timestamp, PAST_US)

    def ask(what, rpc, request, codes="INVALID_ARGUMENT", contains=(), metadata=None):
        judge_grpc(findings, what, lambda: client.unary(rpc, request, metadata, timeout_s=20), codes, contains)

    def online(what, codes="INVALID_ARGUMENT", contains=(), **change):
        question = {"entity_ids": ["u1"], "features": ["country"], **change}
        ask(what, "GetOnlineFeatures", pb.GetOnlineFeaturesRequest(**{k: v for k, v in question.items() if v is not None}), codes, contains)

    def row(values, entity_id="u1", at=past, **more):
        return pb.FeatureRow(entity_type="user", entity_id=entity_id, event_timestamp=at, values=values, **more)

    def write(what, rows, codes="INVALID_ARGUMENT", contains=(), **more):
        ask(what, "WriteFeatures", pb.WriteFeaturesRequest(rows=rows, **more), codes, contains)

    def historical(what, requests, codes="INVALID_ARGUMENT", contains=()):
        judge_grpc(findings, what, lambda: list(client.stream("GetHistoricalFeatures", requests, timeout_s=20)), codes, contains)

    def options(**change):
        return pb.GetHistoricalFeaturesRequest(options=pb.HistoricalOptions(**{"features": ["country"], **change}))

    def spine(*rows):
        return pb.GetHistoricalFeaturesRequest(rows=pb.SpineRows(rows=rows))

    def register(what, codes="INVALID_ARGUMENT", contains=(), **change):
        feature = pb.FeatureDefinition(**{"name": "fresh", "entity_type": "user", "dtype": pb.DTYPE_INT64, **change})
        ask(what, "RegisterFeatures", pb.RegisterFeaturesRequest(features=[feature]), codes, contains)

    good = pb.SpineRow(entity_id="u1", timestamp=past)
    number = lambda x: pb.Value(float64_value=x)  # noqa: E731

    # Keys.
    for what, metadata in (
        ("no key", []), ("empty key", [("x-api-key", "")]), ("bad checksum", [("x-api-key", key[:-1] + ("A" if key[-1] != "A" else "B"))]),
        ("garbage for a key", [("x-api-key", "nonsense")]), ("garbage bearer", [("authorization", "Bearer nonsense")]),
    ):
        ask(what, "ListFeatures", pb.ListFeaturesRequest(), "UNAUTHENTICATED", (), metadata)
        judge_grpc(findings, f"{what}, stream", lambda m=metadata: list(client.stream("StreamWriteFeatures", [pb.StreamWriteFeaturesRequest()], m, timeout_s=10)), "UNAUTHENTICATED")
    ask("two different credentials", "ListFeatures", pb.ListFeaturesRequest(), "INVALID_ARGUMENT", (), [("x-api-key", key), ("authorization", "Bearer " + key[:-1] + "x")])
    ask("two different keys", "ListFeatures", pb.ListFeaturesRequest(), "INVALID_ARGUMENT", (), [("x-api-key", key), ("x-api-key", "other")])
    ask("the same credential twice", "ListFeatures", pb.ListFeaturesRequest(), "OK", (), [("x-api-key", key), ("authorization", "Bearer " + key)])

    # Names.
    online("absent entity", "OK", "statuses: NOT_FOUND", entity_ids=["nobody"])
    online("unregistered feature", "NOT_FOUND", "missing_one", features=["country", "missing_one"])
    online("unregistered version", "NOT_FOUND", "country@7", features=["country@7"])
    online("unknown set", "NOT_FOUND", "missing_set", features=None, feature_set="missing_set")
    ask("unknown feature", "GetFeature", pb.GetFeatureRequest(feature="missing_one"), "NOT_FOUND", "missing_one")
    ask("no feature", "GetFeature", pb.GetFeatureRequest(), {"INVALID_ARGUMENT", "NOT_FOUND"}, "feature")
    ask("unknown set by name", "GetFeatureSet", pb.GetFeatureSetRequest(name="missing_set"), "NOT_FOUND", "missing_set")
    ask("history of an unknown feature", "GetFeatureHistory", pb.GetFeatureHistoryRequest(feature="missing_one", entity_id="u1"), "NOT_FOUND", "missing_one")
    ask("status of an unknown version", "SetFeatureStatus", pb.SetFeatureStatusRequest(feature="country@9", status=pb.FEATURE_VERSION_STATUS_ACTIVE), "NOT_FOUND", "country@9")
    ask("status unset", "SetFeatureStatus", pb.SetFeatureStatusRequest(feature="country@1"), "INVALID_ARGUMENT", "status")
    ask("status nobody knows", "SetFeatureStatus", pb.SetFeatureStatusRequest(feature="country@1", status=77), "INVALID_ARGUMENT", "status")
    ask("set of an unknown feature", "PutFeatureSet", pb.PutFeatureSetRequest(name="s1", features=["missing_one"]), "NOT_FOUND", "missing_one")
    ask("set of nothing", "PutFeatureSet", pb.PutFeatureSetRequest(name="s1"), "INVALID_ARGUMENT", "features")
    ask("set with a feature twice", "PutFeatureSet", pb.PutFeatureSetRequest(name="s1", features=["country", "profile.country"]), "INVALID_ARGUMENT", "features[1]")
    historical("training set of an unregistered feature", [options(features=["missing_one"]), spine(good)], "NOT_FOUND", "missing_one")
    write("unknown feature in a row", [row({"missing_one": number(1)})], {"INVALID_ARGUMENT", "NOT_FOUND"}, "missing_one")
    judge_grpc(findings, "unknown method", lambda: raw_unary(client, "Nothing", b""), {"UNIMPLEMENTED", "NOT_FOUND"})

    # Ids.
    for what, entity_id in (("empty id", ""), ("id of 257 bytes", "é" * 128 + "x"), ("NUL in id", "a\0b"), ("line feed in id", "a\nb"), ("DEL in id", "a\x7fb"), ("C1 control in id", "a\x85b")):
        online(f"{what}, online", "INVALID_ARGUMENT", "entity_ids[1]", entity_ids=["u1", entity_id])
        write(f"{what}, write", [row({"score": number(1.5)}), row({"score": number(1.5)}, entity_id)], "INVALID_ARGUMENT", "rows[1]")
        historical(f"{what}, training set", [options(), spine(good, pb.SpineRow(entity_id=entity_id, timestamp=past))], "INVALID_ARGUMENT", "spine[1]")
        ask(f"{what}, history", "GetFeatureHistory", pb.GetFeatureHistoryRequest(feature="score", entity_id=entity_id), "INVALID_ARGUMENT", "entity_id")
    online("id of 256 bytes", "OK", "NOT_FOUND", entity_ids=["é" * 128])
    ask("invalidate an id of 257 bytes", "InvalidateCache", pb.InvalidateCacheRequest(entity_id="x" * 257), "INVALID_ARGUMENT", "entity_id")
    ask("invalidate nothing", "InvalidateCache", pb.InvalidateCacheRequest(), "INVALID_ARGUMENT")

    # What is asked.
    online("no features", "INVALID_ARGUMENT", "features", features=[])
    online("features and set", "INVALID_ARGUMENT", "feature_set", feature_set="s")
    online("entity_ids and entities", "INVALID_ARGUMENT", "entities", entities={"user": pb.EntityIds(ids=["u1"])})
    online("entity_ids over two types", features=["country", "risk"])
    online("columns of two lengths", "INVALID_ARGUMENT", "entities", entity_ids=None, entities={"user": pb.EntityIds(ids=["a", "b"]), "merchant": pb.EntityIds(ids=["m"])}, features=["country", "risk"])
    online("a key column missing", "INVALID_ARGUMENT", "merchant", entity_ids=None, entities={"user": pb.EntityIds(ids=["a"])}, features=["affinity"])
    for pair in (["country", "country"], ["country", "profile.country"], ["country", "country@1"]):
        online(f"duplicate features {' and '.join(pair)}", "INVALID_ARGUMENT", "features[1]", features=pair)
    online("1 000 entities", "OK", (), entity_ids=[f"e{i}" for i in range(1000)])
    online("1 001 entities", "INVALID_ARGUMENT", "entity_ids", entity_ids=[f"e{i}" for i in range(1001)])
    online("1 000 features", "OK", (), features=[f"w{i}" for i in range(1000)])
    online("1 001 features", "INVALID_ARGUMENT", "features", features=[f"w{i}" for i in range(1001)])
    online("100 000 cells", "OK", (), features=[f"w{i}" for i in range(100)], entity_ids=[f"e{i}" for i in range(1000)])
    online("101 000 cells", features=[f"w{i}" for i in range(101)], entity_ids=[f"e{i}" for i in range(1000)])
    texts = {f"text_{i}": pb.Value(string_value="x" * 60_000) for i in range(17)}
    for e in range(4):
        write(f"a row of 1 020 000 bytes ({e + 1} of 4)", [row(texts, f"big{e}")], "OK")
    online("reply of 4.08 MB", "OK", (), features=[f"text_{i}" for i in range(17)], entity_ids=[f"big{i}" for i in range(4)])
    online("reply over 4 MiB", "RESOURCE_EXHAUSTED", (), features=[f"text_{i}" for i in range(17)], entity_ids=[f"big{i % 4}" for i in range(8)])
    write("a row over 1 MiB", [row({name: pb.Value(string_value="x" * 65_000) for name in texts})], {"INVALID_ARGUMENT", *LIMITED})

    # Time.
    moments = [
        ("nanos -1", Timestamp(seconds=PAST_US // 1_000_000, nanos=-1)), ("nanos 1e9", Timestamp(seconds=PAST_US // 1_000_000, nanos=1_000_000_000)),
        ("year 10000", Timestamp(seconds=253402300800)), ("milliseconds sent as seconds", Timestamp(seconds=PAST_US // 1000)),
        ("the least int64", Timestamp(seconds=-(2**63))), ("6 minutes ahead", proto(Timestamp, parse_us(in_minutes(6)))),
    ]
    for what, moment in moments:
        online(f"as_of: {what}", "INVALID_ARGUMENT", "as_of", as_of=moment)
        write(f"event_timestamp: {what}", [row({"score": number(1.5)}, at=moment)], "INVALID_ARGUMENT", "rows[0].event_timestamp")
        historical(f"spine time: {what}", [options(), spine(good, pb.SpineRow(entity_id="u1", timestamp=moment))], "INVALID_ARGUMENT", "spine[1]")
        historical(f"known_at: {what}", [options(known_at=moment), spine(good)], "INVALID_ARGUMENT", "known_at")
    write("event_timestamp left out", [pb.FeatureRow(entity_type="user", entity_id="u1", values={"score": number(1)})], "INVALID_ARGUMENT", "rows[0].event_timestamp")
    write("event 4 minutes ahead", [row({"score": number(1.5)}, "ahead", at=proto(Timestamp, parse_us(in_minutes(4))))], "OK")
    historical("spine time left out", [options(), spine(pb.SpineRow(entity_id="u1"))], "INVALID_ARGUMENT", "spine[0]")
    historical("spine row without entity", [options(), spine(pb.SpineRow(timestamp=past))], "INVALID_ARGUMENT", "spine[0]")
    for what, a, b in (("from = to", past, past), ("from > to", proto(Timestamp, PAST_US + 1), past)):
        ask(f"history {what}", "GetFeatureHistory", pb.GetFeatureHistoryRequest(feature="score", entity_id="u1", to=b, **{"from": a}), "INVALID_ARGUMENT")
    for what, duration in (("-5 m", Duration(seconds=-300)), ("nanos 1e9", Duration(seconds=1, nanos=1_000_000_000)), ("mixed signs", Duration(seconds=1, nanos=-5)), ("beyond 10 000 years", Duration(seconds=400_000_000_000)), ("the greatest int64", Duration(seconds=2**63 - 1))):
        online(f"max_age {what}", "INVALID_ARGUMENT", "max_age", max_age=duration)
        register(f"ttl {what}", "INVALID_ARGUMENT", "ttl", ttl=duration)

    # Values.
    for feature, value, why in (
        ("age", pb.Value(string_value="x"), "text for int64"), ("age", number(1.0), "double for int64"), ("age", pb.Value(), "a value that is nothing"), ("age", pb.Value(null_value=False), "null_value false"),
        ("country", pb.Value(int64_value=5), "number for string"), ("country", pb.Value(string_value="a\0b"), "NUL in text"), ("country", pb.Value(string_value="x" * 65537), "string of 64 KiB + 1"),
        ("score", number(float("nan")), "NaN"), ("score", number(float("inf")), "Infinity"), ("ratio", pb.Value(float32_value=float("nan")), "NaN in float32"),
        ("embedding", pb.Value(list_value=pb.List(float32s=[0.5] * 4097)), "vector of 4 097"), ("embedding", pb.Value(list_value=pb.List(strings=["x"])), "list of another type"),
        ("embedding", pb.Value(list_value=pb.List(float32s=[0.5], strings=["x"])), "two arrays in a list"), ("embedding", pb.Value(list_value=pb.List(float32s=[0.5], null_positions=[3])), "null position beyond the list"),
        ("embedding", pb.Value(list_value=pb.List(float32s=[float("nan")])), "NaN in a list"), ("born", pb.Value(timestamp_value=Timestamp(seconds=253402300800)), "timestamp in year 10000"),
        ("doc", pb.Value(json_value='{"a":1'), "truncated json"), ("doc", pb.Value(json_value='{"a":1,"a":2}'), "duplicate keys in json"), ("doc", pb.Value(json_value='"\\ud800"'), "lone surrogate in json"),
        ("doc", pb.Value(json_value="[" * 10_000 + "]" * 10_000), "json of depth 10 000"), ("doc", pb.Value(json_value="1 x"), "trailing bytes in json"), ("doc", pb.Value(json_value="1e400"), "1e400 in json"), ("doc", pb.Value(json_value="NaN"), "NaN in json"),
        ("doc", pb.Value(json_value='"a\\u0000"'), "NUL in json"),
    ):
        values = {"country": pb.Value(string_value="GB"), "age": pb.Value(int64_value=1), feature: value} if feature in ("country", "age") else {feature: value}
        write(why, [row(values)], "INVALID_ARGUMENT", f"rows[0].values.{feature}")
    write("vector of 4 096", [row({"embedding": pb.Value(list_value=pb.List(float32s=[0.5] * 4096))})], "OK")
    write("NaN where it is allowed", [row({"loose": number(float("nan"))})], "OK")
    write("a feature of the group left out", [row({"country": pb.Value(string_value="GB")})], "INVALID_ARGUMENT", "age")
    write("both entity_id and entities", [row({"score": number(1)}, entities={"user": "u2"})], "INVALID_ARGUMENT", "rows[0]")
    write("second row bad, partial", [row({"score": number(7)}, "gpartial"), row({"score": pb.Value(string_value="x")})], "OK", ("accepted: 1", "row: 1", "score"), partial=True)
    judge_grpc(
        findings, "stream of writes: bad rows among good ones",
        lambda: list(client.stream("StreamWriteFeatures", [
            pb.StreamWriteFeaturesRequest(rows=[row({"score": number(1)}, "gs1"), row({"score": pb.Value(string_value="x")}), row({"score": number(2)}, "gs2")]),
            pb.StreamWriteFeaturesRequest(rows=[row({"missing_one": number(1)})]),
            pb.StreamWriteFeaturesRequest(rows=[row({"score": number(3)}, "gs3")]),
        ], timeout_s=20)),
        "OK", ("accepted: 2", "row: 1", "missing_one", "accepted: 1"),
    )

    # Registration.
    for name in ("Country", "1st", "", "a" * 65, "naïve", "a.b", "entity_id", "label", "online", "x__status", "x__event_timestamp"):
        register(f"feature name {name[:20]!r}", "INVALID_ARGUMENT", "features[0].name", name=name)
    register("dtype unset", "INVALID_ARGUMENT", "dtype", dtype=0)
    register("dtype nobody knows", "INVALID_ARGUMENT", "dtype", dtype=99)
    register("other dtype", "ALREADY_EXISTS", "country", name="country", group="profile", dtype=pb.DTYPE_INT64)
    register("other entity type", "ALREADY_EXISTS", (), name="score", dtype=pb.DTYPE_FLOAT64, entity_type="merchant")
    register("group of another entity type", "ALREADY_EXISTS", (), name="fresh_two", group="profile", entity_type="merchant")
    register("version beyond the next", "FAILED_PRECONDITION", "version", name="score", dtype=pb.DTYPE_FLOAT64, version=5)
    register("default of another type", "INVALID_ARGUMENT", "default", name="fresh_four", default_value=pb.Value(string_value="x"))
    register("a window whose size is no multiple of its slide", {"INVALID_ARGUMENT"}, "window", name="sum_5m", dtype=pb.DTYPE_FLOAT64,
             window=pb.WindowDefinition(event_type="purchase", function="sum", size=Duration(seconds=300), slide=Duration(seconds=7)))
    ask("entity type with other keys", "RegisterFeatures", pb.RegisterFeaturesRequest(entity_types=[pb.EntityType(name="user_merchant", keys=["merchant", "user"])]), "ALREADY_EXISTS", "user_merchant")

    # Pages.
    for size in (-1, 1001):
        ask(f"page size {size}", "ListFeatures", pb.ListFeaturesRequest(page_size=size), "INVALID_ARGUMENT", "page_size")
        ask(f"page size {size}, sets", "ListFeatureSets", pb.ListFeatureSetsRequest(page_size=size), "INVALID_ARGUMENT", "page_size")
        ask(f"page size {size}, history", "GetFeatureHistory", pb.GetFeatureHistoryRequest(feature="score", entity_id="u1", page_size=size), "INVALID_ARGUMENT", "page_size")
    for token in ("forged", "AAAA", "\0"):
        ask(f"page token {token!r}", "ListFeatures", pb.ListFeaturesRequest(page_token=token), "INVALID_ARGUMENT", "page_token")
        ask(f"page token {token!r}, history", "GetFeatureHistory", pb.GetFeatureHistoryRequest(feature="score", entity_id="u1", page_token=token), "INVALID_ARGUMENT", "page_token")

    # Idempotency.
    one = pb.WriteFeaturesRequest(rows=[row({"score": number(3)}, "gidem")], idempotency_key="bad-input-2")
    first = client.unary("WriteFeatures", one)
    judge_grpc(findings, "idempotency key, same body", lambda: client.unary("WriteFeatures", one), "OK")
    again = client.unary("WriteFeatures", one)
    findings.add("… gives the stored answer", "gRPC", str(first).replace("\n", " "), str(again).replace("\n", " "), first == again)
    ask("same idempotency key, other body", "WriteFeatures", pb.WriteFeaturesRequest(rows=[row({"score": number(4)}, "gidem")], idempotency_key="bad-input-2"), "ABORTED")

    # The stream of a training set.
    historical("nothing at all", [])
    historical("spine before options", [spine(good), options()], "INVALID_ARGUMENT", "options")
    historical("options twice", [options(), options(), spine(good)], "INVALID_ARGUMENT", "options")
    historical("a message without part", [options(), pb.GetHistoricalFeaturesRequest()])
    historical("features and set", [options(feature_set="s"), spine(good)], "INVALID_ARGUMENT", "feature_set")
    historical("duplicate features", [options(features=["country", "profile.country"]), spine(good)], "INVALID_ARGUMENT", "features[1]")
    historical("known_at_row false", [options(known_at_row=False), spine(good)], "INVALID_ARGUMENT", "known_at_row")
    historical("spine column named as a feature", [options(), spine(pb.SpineRow(entity_id="u1", timestamp=past, columns={"country": number(1)}))], "INVALID_ARGUMENT", "country")
    historical("Arrow garbage", [options(), pb.GetHistoricalFeaturesRequest(arrow_ipc=b"garbage" * 9)])
    historical("Arrow truncated", [options(), pb.GetHistoricalFeaturesRequest(arrow_ipc=arrow_spine()[:200])])
    historical("Arrow, two schemas", [options(), pb.GetHistoricalFeaturesRequest(arrow_ipc=arrow_spine()), pb.GetHistoricalFeaturesRequest(arrow_ipc=other_arrow())])
    historical("typed rows, then Arrow", [options(), spine(good), pb.GetHistoricalFeaturesRequest(arrow_ipc=arrow_spine())], {"OK", "INVALID_ARGUMENT"})
    historical("empty spine", [options()], {"OK", "INVALID_ARGUMENT"})

    # The wire.
    judge_grpc(findings, "bytes that are no message", lambda: raw_unary(client, "GetFeature", b"\xff\xff\xff\xff"), {"INVALID_ARGUMENT", "INTERNAL"})
    judge_grpc(findings, "text that is not UTF-8", lambda: raw_unary(client, "GetFeature", b"\x0a\x02\xff\xfe"), {"INVALID_ARGUMENT", "INTERNAL"})
    judge_grpc(findings, "unknown field number", lambda: raw_unary(client, "GetFeature", b"\x0a\x07country\xf8\x07\x01"), "OK")
    huge = pb.GetOnlineFeaturesRequest(features=["country"], entity_ids=["x" * (5 << 20)])
    ask("message over 4 MiB", "GetOnlineFeatures", huge, LIMITED)
    judge_grpc(findings, "message over 4 MiB on a stream", lambda: list(client.stream("StreamWriteFeatures", [pb.StreamWriteFeaturesRequest(idempotency_key="x" * (5 << 20))], timeout_s=20)), LIMITED)
    before = memory_mib()
    bomb = pb.GetOnlineFeaturesRequest(features=["country"], entity_ids=["x" * (60 << 20)])
    judge_grpc(findings, "gzip bomb of 60 MB", lambda: client.stub.GetOnlineFeatures(bomb, metadata=client.metadata, timeout=20, compression=grpc.Compression.Gzip), {*LIMITED, "UNIMPLEMENTED"})
    grown = memory_mib() - before
    findings.add("… memory grown by the bomb", "gRPC", "≤ 32 MiB", f"{grown:.0f} MiB", not grown > 32)
    judge_grpc(findings, "deadline over", lambda: client.unary("ListFeatures", pb.ListFeaturesRequest(), timeout_s=1e-6), "DEADLINE_EXCEEDED")
    never_reads(client, findings, memory_mib, past)


def raw_unary(client, method, content):
    call = client.channel.unary_unary(SERVICE + method, request_serializer=bytes, response_deserializer=bytes)
    return call(content, metadata=client.metadata, timeout=10)


def other_arrow():
    import pyarrow as pa

    table = pa.table({"entity_id": [1, 2], "timestamp": [PAST, PAST], "more": [1, 2]})
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue()


def never_reads(client, findings, memory_mib, past):
    """Sends spine pieces for ever and reads nothing. A piece of 64 MiB (limits.spine_piece_bytes_max) stands there as messages, as columns and as an answer."""
    pb = client.pb
    rows = [pb.SpineRow(entity_id="u1", timestamp=past, columns={"pad": pb.Value(string_value="x" * 900)}) for _ in range(500)]
    piece = pb.GetHistoricalFeaturesRequest(rows=pb.SpineRows(rows=rows))
    taken, ended = [0], threading.Event()

    def requests():
        yield pb.GetHistoricalFeaturesRequest(options=pb.HistoricalOptions(features=["country"]))
        while not ended.is_set() and taken[0] < 800:
            taken[0] += 1
            yield piece

    before, peak = memory_mib(), 0.0
    call = client.stub.GetHistoricalFeatures(requests(), metadata=client.metadata, timeout=30)
    for _ in range(80):
        time.sleep(0.1)
        peak = max(peak, memory_mib() - before)
    ended.set()
    call.cancel()
    findings.add("client that never reads, spine", "gRPC", "≤ 320 MiB more memory", f"{taken[0]} pieces of 460 KB taken, {peak:.0f} MiB more", not peak > 320)
