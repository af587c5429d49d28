"""Asking through REST and gRPC side by side, and the features, moments and ids that the parity check asks about."""

import json
import re

from . import natural, rest
from .moments import parse_us
from .rest import Rest, quoted
from .stubs import Grpc

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
    ("a_decimal", "decimal(38,2)", "kinds", "123456789012345678901234567890123456.70", "-0.05"),
    ("a_odd", "float64", "odd", "NaN", "-Infinity"),
]


class Asking:
    """Asks through both doors and remembers what was asked: a base for the parts."""

    def __init__(self, url, key, report):
        self.url, self.key, self.report = url, key, report
        self.rest, self.grpc = Rest(url, key), Grpc(url, key)
        self.pb = self.grpc.pb
        self.asked_rest, self.asked_rpc, self.examples = set(), set(), {}

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
