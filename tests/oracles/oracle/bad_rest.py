"""The bad-input table through REST: what a client library can send (`cases`) and what only a socket can (`wire_cases`)."""

import gzip
import http.client
import io
import json
import socket
import threading
import time

from . import rest
from .bad_setup import PAST, in_minutes, judge_rest, registration

BODY_BYTES_MAX = 1 << 20
KEPT_TRIES = 30


def row(values, entity_id="u1", at=PAST, entity_type="user", **more):
    return {"entity_type": entity_type, "entity_id": entity_id, "event_timestamp": at, "values": values, **more}


def text(body):
    return json.dumps(body, ensure_ascii=False)


def cases(client, findings, key):
    def ask(what, method, path, body=None, statuses=400, contains=(), headers=None):
        judge_rest(findings, what, client.call(method, path, body, headers), statuses, contains)

    def online(what, statuses=400, contains=(), **change):
        question = {"entity_ids": ["u1"], "features": ["country"], **change}
        ask(what, "POST", "/features/online", {k: v for k, v in question.items() if v is not None}, statuses, contains)

    def write(what, rows, statuses=400, contains=(), query="", **more):
        ask(what, "POST", f"/features/write{query}", {"rows": rows, **more}, statuses, contains)

    def batch(what, statuses=400, contains=(), **change):
        ask(what, "POST", "/features/batch", {"features": ["country"], "spine": [{"entity_id": "u1", "timestamp": PAST}], **change}, statuses, contains)

    def register(what, statuses=400, contains=(), **change):
        ask(what, "POST", "/features/register", {"features": [{"name": "fresh", "entity_type": "user", "dtype": "int64", **change}]}, statuses, contains)

    def body(what, content, path="/features/online", statuses=400, contains=(), **headers):
        ask(what, "POST", path, content if isinstance(content, bytes) else content.encode(), statuses, contains, headers or None)

    # Keys.
    for what, headers in (
        ("no key", {"X-API-Key": None}),
        ("empty key", {"X-API-Key": ""}),
        ("bad checksum", {"X-API-Key": key[:-1] + ("A" if key[-1] != "A" else "B")}),
        ("garbage for a key", {"X-API-Key": "nonsense"}),
        ("garbage bearer", {"Authorization": "Bearer nonsense"}),
        ("other scheme", {"Authorization": "Basic dTpw"}),
    ):
        ask(what, "GET", "/features", None, 401, (), headers)
    ask("two different credentials", "GET", "/features", None, 400, (), {"X-API-Key": key, "Authorization": "Bearer " + key[:-1] + "x"})
    ask("the same credential twice", "GET", "/features", None, 200, (), {"X-API-Key": key, "Authorization": "Bearer " + key})
    online("tenant in body other than the key's", (400, 403), "tenant", tenant="other")

    # Names and paths.
    online("absent entity", 200, "NOT_FOUND", entity_ids=["nobody"])
    online("unregistered feature", 404, "missing_one", features=["country", "missing_one"])
    online("unregistered version", 404, "country@7", features=["country@7"])
    online("unknown set", 404, "missing_set", features=None, feature_set="missing_set")
    ask("unknown feature", "GET", "/features/missing_one", None, 404, "missing_one")
    ask("unknown set by path", "GET", "/feature-sets/missing_set", None, 404, "missing_set")
    ask("unknown path below the API", "GET", "/nothing/here", None, 404)
    ask("unknown path", "GET", "//nothing", None, 404)
    ask("history of an unknown feature", "GET", "/features/missing_one/history?entity_id=u1", None, 404, "missing_one")
    ask("status of an unknown version", "POST", "/features/country@9/status", {"status": "active"}, 404, "country@9")
    ask("status nobody knows", "POST", "/features/country@1/status", {"status": "frozen"}, 400, "status")
    ask("set of an unknown feature", "PUT", "/feature-sets/s1", {"features": ["missing_one"]}, 404, "missing_one")
    ask("set of nothing", "PUT", "/feature-sets/s1", {"features": []}, 400, "features")
    ask("set with a feature twice", "PUT", "/feature-sets/s1", {"features": ["country", "profile.country"]}, 400, "features[1]")
    ask("set with a bad name", "PUT", "/feature-sets/Bad-Name", {"features": ["country"]}, 400, "name")
    batch("training set of an unregistered feature", 404, "missing_one", features=["missing_one"])
    write("unknown feature in a row", [row({"missing_one": 1})], (400, 404), "missing_one")
    write("unknown entity type in a row", [row({"country": "GB", "age": 1}, entity_type="ghost")], (400, 404), "ghost")

    # Ids.
    for what, entity_id in (("empty id", ""), ("id of 257 bytes", "é" * 128 + "x"), ("NUL in id", "a\0b"), ("line feed in id", "a\nb"), ("DEL in id", "a\x7fb"), ("C1 control in id", "a\x85b")):
        online(f"{what}, online", 400, "entity_ids[1]", entity_ids=["u1", entity_id])
        write(f"{what}, write", [row({"score": 1.5}), row({"score": 1.5}, entity_id)], 400, "rows[1]")
        batch(f"{what}, training set", 400, "spine[0]", spine=[{"entity_id": entity_id, "timestamp": PAST}])
        ask(f"{what}, history", "GET", f"/features/score/history?entity_id={rest.quoted(entity_id)}", None, 400, "entity_id")
    online("id of 256 bytes", 200, "NOT_FOUND", entity_ids=["é" * 128])
    online("id of % { } : * and emoji", 200, "NOT_FOUND", entity_ids=["%41:{x}*🦊/../#?&"])
    online("id as an integer", 200, '"7"', entity_ids=[7])
    online("id as a fraction", 400, "entity_ids[0]", entity_ids=[7.5])
    online("id as null", 400, "entity_ids[0]", entity_ids=[None])
    ask("invalidate an id of 257 bytes", "DELETE", f"/cache/invalidate/{'x' * 257}", None, 400, "entity_id")
    ask("invalidate an id that is not UTF-8", "DELETE", "/cache/invalidate/%FF%FE", None, 400)

    # What is asked.
    online("no features", 400, "features", features=[])
    online("features left out", 400, "features", features=None)
    online("no entities", (200, 400), (), entity_ids=[])
    online("features and set", 400, "feature_set", feature_set="s")
    online("entity_ids and entities", 400, "entities", entities={"user": ["u1"]})
    online("entity_ids over two types", 400, (), features=["country", "risk"])
    online("columns of two lengths", 400, "entities", entity_ids=None, entities={"user": ["a", "b"], "merchant": ["m"]}, features=["country", "risk"])
    online("a key column missing", 400, "merchant", entity_ids=None, entities={"user": ["a"]}, features=["affinity"])
    for pair in (["country", "country"], ["country", "profile.country"], ["country", "country@1"]):
        online(f"duplicate features {' and '.join(pair)}", 400, "features[1]", features=pair)
    online("1 000 entities", 200, "NOT_FOUND", entity_ids=[f"e{i}" for i in range(1000)])
    online("1 001 entities", 400, "entity_ids", entity_ids=[f"e{i}" for i in range(1001)])
    online("1 000 features", 200, "NOT_FOUND", features=[f"w{i}" for i in range(1000)])
    online("1 001 features", 400, "features", features=[f"w{i}" for i in range(1001)])
    online("100 000 cells", (200, 413), (), features=[f"w{i}" for i in range(100)], entity_ids=[f"e{i}" for i in range(1000)])
    online("101 000 cells", 400, (), features=[f"w{i}" for i in range(101)], entity_ids=[f"e{i}" for i in range(1000)])

    # Time.
    for what, moment in (
        ("no offset", "2024-01-15T14:22:00"), ("second 60", "2024-01-15T14:22:60Z"), ("year 10000", "10000-01-01T00:00:00Z"),
        ("infinity", "infinity"), ("30 February", "2024-02-30T00:00:00Z"), ("date only", "2024-01-15"), ("empty moment", ""),
        ("milliseconds sent as seconds", 1705328520000), ("seconds as a number", 1705328520), ("hour 24", "2024-01-15T24:00:00Z"),
    ):
        online(f"as_of: {what}", 400, "as_of", as_of=moment)
        write(f"event_timestamp: {what}", [row({"score": 1.5}, at=moment)], 400, "rows[0].event_timestamp")
        batch(f"spine time: {what}", 400, "spine[0]", spine=[{"entity_id": "u1", "timestamp": moment}])
        batch(f"known_at: {what}", 400, "known_at", known_at=moment)
    write("event 6 minutes ahead", [row({"score": 1.5}, at=in_minutes(6))], 400, "rows[0].event_timestamp")
    write("event 4 minutes ahead", [row({"score": 1.5}, "ahead", at=in_minutes(4))], 200)
    online("as_of 6 minutes ahead", 400, "as_of", as_of=in_minutes(6))
    batch("spine time 6 minutes ahead", 400, "spine[1]", spine=[{"entity_id": "u1", "timestamp": PAST}, {"entity_id": "u1", "timestamp": in_minutes(6)}])
    started = time.monotonic()
    batch("known_at an hour ahead", 400, "known_at", known_at=in_minutes(60))
    findings.add("… answered within 1.5 s", "REST", "≤ 1.5 s", f"{time.monotonic() - started:.2f} s", time.monotonic() - started <= 1.5)
    ask("history from = to", "GET", f"/features/score/history?entity_id=u1&from={PAST}&to={PAST}", None, 400)
    ask("history from > to", "GET", "/features/score/history?entity_id=u1&from=2024-02-01T00:00:00Z&to=2024-01-01T00:00:00Z", None, 400)
    for duration in ("5x", "-5m", "", "five minutes", "1e3s", "99999999999999999999d"):
        online(f"max_age {duration!r}", 400, "max_age", max_age=duration)
        register(f"ttl {duration!r}", 400, "ttl", ttl=duration)

    # Values.
    for feature, value, why in (
        ("age", "x", "wrong type"), ("age", 1.5, "fraction for int64"), ("age", True, "bool for int64"), ("age", [1], "list for int64"),
        ("age", 9223372036854775808, "int64 overflow"), ("age", "9223372036854775808", "int64 overflow in text"), ("age", -9223372036854775809, "int64 underflow"),
        ("age", {"a": 1}, "object for int64"),
    ):
        write(f"{why}", [row({"country": "GB", "age": value})], 400, "rows[0].values.age")
    body("1.0 for int64", '{"rows":[{"entity_type":"user","entity_id":"u1","event_timestamp":"%s","values":{"country":"GB","age":1.0}}]}' % PAST, "/features/write", 400, "rows[0].values.age")
    for feature, value, why in (
        ("country", 5, "number for string"), ("country", "a\0b", "NUL in text"), ("vip", 1, "number for bool"), ("vip", "true", "text for bool"),
        ("born", "2024-01-15T14:22:00", "timestamp without offset"), ("blob", "not base64!", "bad base64"), ("embedding", [0.5, "x"], "text in a float list"),
        ("embedding", 0.5, "number for a list"), ("embedding", [0.5] * 4097, "vector of 4 097"), ("score", "NaN", "NaN"), ("score", "Infinity", "Infinity"), ("score", "-Infinity", "-Infinity"),
        ("score", "1.5x", "text for float64"), ("ratio", 1e39, "float32 overflow"),
    ):
        values = {"country": value, "age": 1} if feature == "country" else {feature: value}
        write(why, [row(values)], 400, f"rows[0].values.{feature}")
    write("vector of 4 096", [row({"embedding": [0.5] * 4096})], 200)
    write("NaN where it is allowed", [row({"loose": "NaN"})], 200)
    write("string of 64 KiB", [row({"country": "x" * 65536, "age": 1})], 200)
    write("string of 64 KiB + 1", [row({"country": "x" * 65537, "age": 1})], 400, "rows[0].values.country")
    for literal in ("1e400", "-1e400"):
        body(f"{literal} for float64", '{"rows":[{"entity_type":"user","entity_id":"u1","event_timestamp":"%s","values":{"score":%s}}]}' % (PAST, literal), "/features/write", 400, "score")
    for literal in ("NaN", "Infinity", "01", "+1", ".5", "1.", "0x10", "'a'"):
        body(f"the literal {literal}", '{"rows":[{"entity_type":"user","entity_id":"u1","event_timestamp":"%s","values":{"score":%s}}]}' % (PAST, literal), "/features/write", 400)
    write("a feature of the group left out", [row({"country": "GB"})], 400, "age")
    write("second row bad: all or nothing", [row({"score": 7.0}, "allornone"), row({"score": "x"}, "allornone2")], 400, "rows[1].values.score")
    online("… and nothing of it is there", 200, "NOT_FOUND", features=["score"], entity_ids=["allornone"])
    write("second row bad, partial", [row({"score": 7.0}, "partial"), row({"score": "x"}, "partial2")], 200, ('"accepted":1', "rejected", "score"), "?partial=true")
    write("no rows", [], (200, 400))
    write("both entity_id and entities", [row({"score": 1.0}, entities={"user": "u2"})], 400, "rows[0]")
    write("a key of a composite id missing", [{"entities": {"user": "u1"}, "event_timestamp": PAST, "values": {"affinity": 1.0}}], 400, "merchant")
    for depth, status in ((31, 200), (40, 400)):
        document = "[" * depth + "]" * depth
        body(f"json value of depth {depth}", '{"rows":[{"entity_type":"user","entity_id":"deep","event_timestamp":"%s","values":{"doc":%s}}]}' % (PAST, document), "/features/write",
             status if depth < 32 else 400)
    batch("spine column named as a feature", 400, "country", spine=[{"entity_id": "u1", "timestamp": PAST, "country": "x"}])
    batch("spine row without time", 400, "spine[1]", spine=[{"entity_id": "u1", "timestamp": PAST}, {"entity_id": "u1"}])
    batch("spine row without entity", 400, "spine[0]", spine=[{"timestamp": PAST}])
    batch("spine is no list", 400, "spine", spine={"entity_id": "u1"})

    # Registration.
    for name in ("Country", "1st", "", "a" * 65, "naïve", "a-b", "a.b", "entity_id", "timestamp", "event_timestamp", "label", "statuses", "event_timestamps", "online", "batch", "register", "write", "x__status", "x__event_timestamp"):
        register(f"feature name {name[:20]!r}", 400, "features[0].name", name=name)
    register("feature name of 64", 200, (), name="a" * 64)
    register("unknown dtype", 400, "dtype", dtype="int32")
    register("list of json", 400, "dtype", dtype="list<json>")
    register("no entity type", 400, "entity_type", entity_type="")
    register("other dtype", 409, "country", name="country", dtype="int64", group="profile")
    register("other group under a taken name", (200, 409), (), name="country", dtype="string", group="elsewhere")
    register("other entity type", 409, (), name="score", dtype="float64", entity_type="merchant")
    register("group of another entity type", 409, (), name="fresh_two", group="profile", entity_type="merchant")
    register("version beyond the next", 400, "version", name="score", dtype="float64", version=5)
    register("version 0", (200, 400), (), name="fresh_three", version=0)
    register("version -1", 400, "version", name="score", dtype="float64", version=-1)
    register("default of another type", 400, "default", name="fresh_four", default="x")
    register("a window whose size is no multiple of its slide", (400,), "window", name="sum_5m", dtype="float64", window={"event_type": "purchase", "function": "sum", "size": "5m", "slide": "7s"})
    ask("entity type with other keys", "POST", "/features/register", {"entity_types": [{"name": "user_merchant", "keys": ["merchant", "user"]}], "features": []}, 409, "user_merchant")
    ask("one feature twice in a call, contradicting", "POST", "/features/register", {"features": [{"name": "twice", "entity_type": "user", "dtype": d} for d in ("int64", "string")]}, (400, 409), "features[1]")
    ask("the same file again", "POST", "/features/register", registration(), 200, "unchanged")
    register("a contradiction leaves nothing behind", 409, (), name="country", dtype="bytes", group="profile")

    # Pages.
    ask("page size -1", "GET", "/features?page_size=-1", None, 400, "page_size")
    ask("page size 1 001", "GET", "/features?page_size=1001", None, 400, "page_size")
    ask("page size x", "GET", "/features?page_size=x", None, 400, "page_size")
    for token in ("forged", "AAAA", "%00", "eyJhIjoxfQ"):
        ask(f"page token {token}", "GET", f"/features?page_token={token}", None, 400, "page_token")
        ask(f"page token {token}, history", "GET", f"/features/score/history?entity_id=u1&page_token={token}", None, 400, "page_token")
        ask(f"page token {token}, sets", "GET", f"/feature-sets?page_token={token}", None, 400, "page_token")
    first = client.call("GET", "/features?page_size=1").json().get("next_page_token", "")
    ask("another list's page token", "GET", f"/feature-sets?page_token={rest.quoted(first)}", None, 400, "page_token")
    ask("unknown query parameter", "GET", "/features?entitytype=user", None, 400, "entitytype")
    ask("a query parameter twice", "GET", "/features?group=profile&group=texts", None, 400, "group")

    # Idempotency.
    one, other = {"rows": [row({"score": 3.0}, "idem")]}, {"rows": [row({"score": 4.0}, "idem")]}
    first = client.call("POST", "/features/write", one, {"Idempotency-Key": "bad-input-1"})
    judge_rest(findings, "idempotency key, first", first, 200)
    again = client.call("POST", "/features/write", one, {"Idempotency-Key": "bad-input-1"})
    findings.add("idempotency key, same body", "REST", first.text(), again.text(), again.body == first.body)
    ask("same idempotency key, other body", "POST", "/features/write", other, 409, (), {"Idempotency-Key": "bad-input-1"})

    # JSON that is not.
    good = text({"entity_ids": ["u1"], "features": ["country"]})
    body("truncated JSON", good[:-1])
    body("empty body", "")
    body("trailing bytes", good + "x")
    body("two documents", good + good)
    body("depth 10 000", '{"features":' + "[" * 10_000 + "]" * 10_000 + "}")
    body("depth 10 000, unclosed", "[" * 10_000)
    body("duplicate keys", '{"entity_ids":["u1"],"features":["country"],"features":["age"]}')
    body("duplicate keys in values", '{"rows":[{"entity_type":"user","entity_id":"u1","event_timestamp":"%s","values":{"score":1,"score":2}}]}' % PAST, "/features/write")
    body("duplicate keys in a json value", '{"rows":[{"entity_type":"user","entity_id":"u1","event_timestamp":"%s","values":{"doc":{"a":1,"a":2}}}]}' % PAST, "/features/write")
    online("unknown field", 400, "colour", colour="red")
    write("unknown field in a row", [row({"score": 1.0}, colour="red")], 400, "colour")
    register("unknown field in a feature", 400, "colour", colour="red")
    batch("unknown field, training set", 400, "colour", colour="red")
    body("lone surrogate in id", '{"entity_ids":["\\ud800"],"features":["country"]}')
    body("lone surrogate in a value", '{"rows":[{"entity_type":"user","entity_id":"u1","event_timestamp":"%s","values":{"country":"\\udc00","age":1}}]}' % PAST, "/features/write")
    body("lone surrogate in a json value", '{"rows":[{"entity_type":"user","entity_id":"u1","event_timestamp":"%s","values":{"doc":"\\ud800"}}]}' % PAST, "/features/write")
    body("not UTF-8", b'{"entity_ids":["\xff\xfe"],"features":["country"]}')
    body("UTF-16", good.encode("utf-16"))
    body("a list for an object", "[1]")
    body("null", "null")

    # HTTP.
    body("wrong media type", good, statuses=415, **{"Content-Type": "text/plain"})
    body("media type of another charset", good.encode("latin-1"), statuses=(200, 415), **{"Content-Type": "application/json; charset=latin-1"})
    ask("wrong method", "PUT", "/features/online", {}, 405)
    ask("wrong method on a feature", "DELETE", "/features/country", None, 405)
    ask("method nobody knows", "BREW", "/features", None, 405)
    body("body of 1 MiB + 1", text({"entity_ids": ["u1"], "features": ["country"], "pad": "x" * BODY_BYTES_MAX}), statuses=413)
    body("gzip body", gzip.compress(good.encode()), statuses=(200, 415), **{"Content-Encoding": "gzip"})
    body("unknown content encoding", good, statuses=(400, 415), **{"Content-Encoding": "zebra"})

    # NDJSON: row by row.
    lines = [row({"score": 1.0}, "nd1"), row({"score": "x"}, "nd2"), row({"score": 2.0}, "nd3")]
    nd = {"Content-Type": rest.NDJSON}
    body("NDJSON, second row bad", "\n".join(text(line) for line in lines) + "\n", "/features/write", 200, ('"accepted":2', '"row":1', "score"), **nd)
    body("NDJSON, second line truncated", text(lines[0])[:-3] + "\n" + text(lines[2]) + "\n", "/features/write", (200, 400), "rejected", **nd)
    body("NDJSON, depth 10 000", "[" * 10_000 + "\n", "/features/write", (200, 400), (), **nd)
    body("NDJSON, line over 1 MiB", text(row({"country": "x" * (BODY_BYTES_MAX + 1), "age": 1})) + "\n", "/features/write", (200, 400, 413), (), **nd)
    body("NDJSON, no last line feed and CRLF", text(row({"score": 1.0}, "nd4")) + "\r\n" + text(row({"score": 2.0}, "nd5")), "/features/write", 200, '"accepted":2', **nd)
    body("NDJSON, empty", "", "/features/write", (200, 400), (), **nd)
    options = text({"features": ["country"]})
    spine_line = text({"entity_id": "u1", "timestamp": PAST})
    body("NDJSON spine, bad options", text({"features": ["missing_one"]}) + "\n" + spine_line, "/features/batch", 404, "missing_one", **nd)
    body("NDJSON spine, options with spine", text({"features": ["country"], "spine": []}) + "\n" + spine_line, "/features/batch", 400, "spine", **nd)
    body("NDJSON spine, second row bad", options + "\n" + spine_line + "\n" + text({"entity_id": "u1", "timestamp": "x"}) + "\n", "/features/batch", 400, "spine[1]", **nd)
    body("NDJSON spine, empty", "", "/features/batch", 400, (), **nd)
    body("Arrow spine, garbage", b"ARROW1\0\0garbage" * 10, f"/features/batch?request={rest.quoted(options)}", 400, (), **{"Content-Type": rest.ARROW})
    body("Arrow spine, nothing", b"", f"/features/batch?request={rest.quoted(options)}", 400, (), **{"Content-Type": rest.ARROW})
    body("Arrow spine, no request", b"", "/features/batch", 400, "request", **{"Content-Type": rest.ARROW})
    body("Arrow spine, truncated", arrow_spine()[:-40][:200], f"/features/batch?request={rest.quoted(options)}", 400, (), **{"Content-Type": rest.ARROW})
    body("Arrow spine, time as text without offset", arrow_spine("2024-01-15T14:22:00"), f"/features/batch?request={rest.quoted(options)}", 400, "timestamp", **{"Content-Type": rest.ARROW})


def arrow_spine(moment=PAST):
    import pyarrow as pa

    table = pa.table({"entity_id": ["u1", "u2"], "timestamp": [moment, moment]})
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue()


def wire_cases(client, findings, key, memory_mib):
    """What only a socket can send. Slow ones run beside each other."""
    host = client.host
    content = text({"entity_ids": ["u1"], "features": ["country"]}).encode()

    def head(line="POST /api/v1/features/online HTTP/1.1", *more):
        return ("\r\n".join([line, f"Host: {host}", f"X-API-Key: {key}", "Content-Type: application/json", *more]) + "\r\n\r\n").encode()

    def wire(what, statuses, *parts, timeout_s=10, half_close=False, problem=False):
        judge_rest(findings, what, rest.raw(host, parts, timeout_s, half_close), statuses, problem=problem)

    length = f"Content-Length: {len(content)}"
    chunked = f"{len(content):x}\r\n".encode() + content + b"\r\n0\r\n\r\n"
    wire("the same bytes, well formed", 200, head("POST /api/v1/features/online HTTP/1.1", length), content)
    wire("CL + TE", 400, head("POST /api/v1/features/online HTTP/1.1", length, "Transfer-Encoding: chunked"), chunked)
    wire("TE + CL", 400, head("POST /api/v1/features/online HTTP/1.1", "Transfer-Encoding: chunked", length), chunked)
    wire("two different lengths", 400, head("POST /api/v1/features/online HTTP/1.1", length, "Content-Length: 3"), content)
    wire("negative length", 400, head("POST /api/v1/features/online HTTP/1.1", "Content-Length: -1"), content)
    wire("unknown transfer encoding", (400, 501), head("POST /api/v1/features/online HTTP/1.1", "Transfer-Encoding: gzip"), content, half_close=True)
    wire("bad chunk size", 400, head("POST /api/v1/features/online HTTP/1.1", "Transfer-Encoding: chunked"), b"zz\r\n" + content, half_close=True)
    wire("body shorter than its length, closed", (0, 400), head("POST /api/v1/features/online HTTP/1.1", f"Content-Length: {len(content) + 5}"), content, half_close=True)
    wire("two different keys in two headers", 400, head("GET /api/v1/features HTTP/1.1", "X-API-Key: other"))
    wire("URI of 70 000", 414, head(f"GET /api/v1/features/{'a' * 70_000} HTTP/1.1"))
    wire("headers of 1 MB", 431, head("GET /api/v1/features HTTP/1.1", *[f"X-Pad-{i}: {'x' * 20_000}" for i in range(50)]))
    wire("one header of 1 MB", 431, head("GET /api/v1/features HTTP/1.1", f"X-Pad: {'x' * 1_000_000}"))
    wire("1 000 headers", 431, head("GET /api/v1/features HTTP/1.1", *[f"X-Pad-{i}: x" for i in range(1000)]))
    wire("space before the colon", 400, head("GET /api/v1/features HTTP/1.1", "X-Odd : 1"))
    wire("no HTTP at all", (0, 400), b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 hello\r\n\r\n", half_close=True)
    wire("HTTP/1.1 without host", (200, 400), b"GET /health HTTP/1.1\r\n\r\n")
    wire("body of 3 MB with its length", 413, head("POST /api/v1/features/online HTTP/1.1", "Content-Length: 3000000"), b"x" * 3_000_000, problem=True)
    wire("body of 3 MB in chunks", 413, head("POST /api/v1/features/online HTTP/1.1", "Transfer-Encoding: chunked"), *[b"8000\r\n" + b" " * 0x8000 + b"\r\n"] * 96, problem=True)

    kept_connections(host, key, findings)

    before = memory_mib()
    bomb = io.BytesIO()
    with gzip.GzipFile(fileobj=bomb, mode="wb", compresslevel=9) as file:
        for _ in range(256):
            file.write(b" " * (1 << 20))
    bomb = bomb.getvalue()
    wire("gzip bomb: 256 MB in %d KB" % (len(bomb) >> 10), (400, 413, 415), head("POST /api/v1/features/online HTTP/1.1", "Content-Encoding: gzip", f"Content-Length: {len(bomb)}"), bomb, problem=True)
    wire("gzip bomb as NDJSON", (400, 413, 415), head("POST /api/v1/features/write HTTP/1.1", "Content-Encoding: gzip", f"Content-Length: {len(bomb)}").replace(b"application/json", b"application/x-ndjson"), bomb, problem=True)
    grown = memory_mib() - before
    findings.add("… memory grown by the bombs", "REST", "≤ 32 MiB", f"{grown:.0f} MiB", not grown > 32)

    slow = [
        threading.Thread(target=wire, args=("slow body", 408, head("POST /api/v1/features/online HTTP/1.1", length), content[:10]), kwargs={"timeout_s": 60}),
        threading.Thread(target=wire, args=("slow headers", (0, 408), b"GET /api/v1/features HTTP/1.1\r\nHost: x\r\n"), kwargs={"timeout_s": 60}),
        threading.Thread(target=never_reads, args=(host, key, findings, memory_mib)),
    ]
    for thread in slow:
        thread.start()
    for thread in slow:
        thread.join()


def kept_connections(host, key, findings):
    """After a refused call whose body was not wanted, the connection serves on, or its end was announced."""
    refused = {
        "405": ("PUT", "/api/v1/features/online", b"{}", {}), "401": ("POST", "/api/v1/features/online", b"x" * 1000, {"X-API-Key": "no"}),
        "404": ("POST", "/api/v1/nothing", b"x" * 1000, {}), "415": ("POST", "/api/v1/features/online", b"x" * 100, {"Content-Type": "text/plain"}),
    }
    for what, (method, path, body, headers) in refused.items():
        lost = 0
        for _ in range(KEPT_TRIES):
            connection = http.client.HTTPConnection(host, timeout=10)
            connection.request(method, path, body, {"X-API-Key": key, "Content-Type": rest.JSON, **headers})
            answer = connection.getresponse()
            answer.read()
            if not answer.will_close:
                try:
                    connection.request("GET", "/api/v1/features", headers={"X-API-Key": key})
                    connection.getresponse().read()
                except (OSError, http.client.HTTPException):
                    lost += 1
            connection.close()
        findings.add(f"a second call on the connection after {what}", "REST", "served, or the end announced", f"{lost} of {KEPT_TRIES} lost", lost == 0)


def never_reads(host, key, findings, memory_mib):
    """Sends spine rows for ever and reads nothing: the server must stop taking, end the call, or spool within bounds."""
    before = memory_mib()
    name, _, port = host.partition(":")
    line = (text({"entity_id": "u1", "timestamp": PAST, "pad": "x" * 900}) + "\n").encode() * 60
    chunk = f"{len(line):x}\r\n".encode() + line + b"\r\n"
    first = (text({"features": ["country"]}) + "\n").encode()
    sent, how = 0, "took everything"
    with socket.create_connection((name, int(port)), timeout=5) as connection:
        connection.sendall(
            f"POST /api/v1/features/batch HTTP/1.1\r\nHost: {host}\r\nX-API-Key: {key}\r\nContent-Type: {rest.NDJSON}\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
            + f"{len(first):x}\r\n".encode() + first + b"\r\n"
        )
        peak = 0.0
        try:
            while sent < 400_000_000:
                connection.sendall(chunk)
                sent += len(chunk)
                if sent // len(chunk) % 100 == 0:
                    peak = max(peak, memory_mib() - before)
        except TimeoutError:
            how = "stopped taking"
        except OSError:
            how = "ended the call"
        peak = max(peak, memory_mib() - before)
    findings.add("client that never reads, NDJSON spine", "REST", "≤ 128 MiB more memory", f"{how} after {sent / 1e6:.0f} MB, {peak:.0f} MiB more", not peak > 128)
