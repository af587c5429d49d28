"""What the bad-input cases stand on: features of every kind, one good row each, and how an answer is judged."""

import datetime
import re
from dataclasses import dataclass, field

import grpc

PAST = "2024-01-15T14:22:00Z"


def in_minutes(minutes):
    moment = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(minutes=minutes)
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def registration():
    def feature(name, dtype, entity_type="user", group=None, **more):
        return {"name": name, "entity_type": entity_type, "dtype": dtype, **({"group": group} if group else {}), **more}

    return {
        "entity_types": [{"name": "user_merchant", "keys": ["user", "merchant"]}],
        "features": [
            feature("country", "string", group="profile"),
            feature("age", "int64", group="profile"),
            feature("score", "float64", ttl="30d", description="first"),
            feature("loose", "float64", allow_non_finite=True),
            feature("ratio", "float32"),
            feature("vip", "bool"),
            feature("doc", "json"),
            feature("embedding", "list<float32>"),
            feature("born", "timestamp"),
            feature("blob", "bytes"),
            feature("risk", "float64", "merchant"),
            feature("affinity", "float64", "user_merchant"),
            *[feature(f"text_{i}", "string", group="texts") for i in range(17)],
        ],
    }


def wide_registrations():
    """1 001 features of one group, in two calls."""
    names = [f"w{i}" for i in range(1001)]
    return [
        {"features": [{"name": n, "entity_type": "user", "dtype": "int64", "group": "wide"} for n in part]}
        for part in (names[:600], names[600:])
    ]


@dataclass
class Finding:
    """One line of the table."""

    input: str
    transport: str
    expected: str
    got: str
    ok: bool


@dataclass
class Findings:
    rows: list = field(default_factory=list)

    def add(self, what, transport, expected, got, ok):
        self.rows.append(Finding(what, transport, expected, got, bool(ok)))
        if not ok:
            print(f"FAIL {transport} {what}: expected {expected}, got {got[:400]}", flush=True)


def judge_rest(findings, what, answer, statuses, contains=(), problem=True):
    """`statuses`: allowed ones. An error must be problem JSON that says what it is and, by `contains`, names the culprit."""
    statuses = {statuses} if isinstance(statuses, int) else set(statuses)
    contains = [contains] if isinstance(contains, str) else list(contains)
    got = f"{answer.status} {answer.text()[:300]}"
    faults = []
    if answer.status not in statuses:
        faults.append("status")
    if answer.status >= 400 and problem:
        faults += _problem_faults(answer)
    faults += [f"does not name {text!r}" for text in contains if text not in answer.text()]
    expected = "/".join(str(s) for s in sorted(statuses)) + (f" naming {', '.join(contains)}" if contains else "")
    findings.add(what, "REST", expected, got + (f"  [{'; '.join(faults)}]" if faults else ""), not faults)


def _problem_faults(answer):
    if not answer.headers.get("content-type", "").startswith("application/problem+json"):
        return [f"content-type {answer.headers.get('content-type')}"]
    try:
        body = answer.json()
    except ValueError:
        return ["not JSON"]
    faults = [f"no {name}" for name in ("type", "title", "status", "detail", "request_id") if name not in body]
    if body.get("status") != answer.status:
        faults.append("status in body differs")
    if not answer.headers.get("x-request-id"):
        faults.append("no x-request-id")
    elif body.get("request_id") != answer.headers["x-request-id"]:
        faults.append("request_id differs from x-request-id")
    return faults


def judge_grpc(findings, what, call, codes, contains=()):
    """`call` makes the RPC (and drains a stream); `codes`: names allowed, `OK` included."""
    codes = {codes} if isinstance(codes, str) else set(codes)
    contains = [contains] if isinstance(contains, str) else list(contains)
    faults = []
    try:
        answer = call()
        code, text = "OK", re.sub(r"\s+", " ", str(answer))
    except grpc.RpcError as error:
        code = error.code().name
        details = b"".join(v if isinstance(v, bytes) else v.encode() for k, v in (error.trailing_metadata() or ()) if k == "grpc-status-details-bin")
        text = f"{error.details()} {details.decode('utf-8', 'replace')}"
    if code not in codes:
        faults.append("code")
    faults += [f"does not name {part!r}" for part in contains if part not in text]
    expected = "/".join(sorted(codes)) + (f" naming {', '.join(contains)}" if contains else "")
    findings.add(what, "gRPC", expected, f"{code} {text[:300]}" + (f"  [{'; '.join(faults)}]" if faults else ""), not faults)
