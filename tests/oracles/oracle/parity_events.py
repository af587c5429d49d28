"""Events in, what their windows say, and what administrators see of them, through both doors."""

from google.protobuf.timestamp_pb2 import Timestamp

from . import natural, window_feed
from .moments import parse_us, proto
from .parity_ask import Asking, unprefixed

FROM, TO = "2024-01-15T00:00:00Z", "2024-01-16T00:00:00Z"
# entity, suffix of the event type, value, time. The last one reaches a window that was closed by the second.
SENT = [("w", "buy", 1.5, "2024-01-15T14:20:00Z"), ("w", "buy", 2.5, "2024-01-15T14:40:00Z"), ("w", "none", 1.0, "2024-01-15T14:40:00Z"), ("w", "buy", 9.0, "2024-01-15T13:00:00Z")]


class Events(Asking):
    def events(self):
        pb = self.pb
        window = {"function": "sum", "size": "5m", "slide": "1m"}
        self.rest.good("POST", "/features/register", {"features": [
            {"name": f"{prefix}sum", "entity_type": f"{prefix}user", "dtype": "float64", "group": f"{prefix}win", "window": {"event_type": f"{prefix}buy", **window}}
            for prefix in ("ra_", "ga_")
        ]})
        totals = {name: 0 for name in ("accepted", "unused", "late", "duplicate")}
        for entity, kind, value, moment in SENT:
            by_rest = self.api("POST", "/events", [{"entity_id": entity, "event_type": f"ra_{kind}", "value": value, "timestamp": moment}]).json()
            event = pb.Event(entity_id=entity, event_type=f"ga_{kind}", value=pb.Value(float64_value=value), timestamp=proto(Timestamp, parse_us(moment)))
            by_grpc = self.rpc("PublishEvents", pb.PublishEventsRequest(events=[event]))
            self.equal(f"PublishEvents {kind} at {moment}", by_rest, published(by_grpc))
            totals = {name: totals[name] + by_rest[name] for name in totals}
        self.report.equal("PublishEvents: the counts are those of the rules", {"accepted": 4, "unused": 1, "late": 1, "duplicate": 0}, totals)
        bad = [{"entity_id": "x" * 300, "event_type": "ra_buy", "timestamp": FROM}, {"entity_id": "v", "event_type": "ra_buy", "value": 4.0, "timestamp": "2024-01-15T14:41:00Z"}]
        by_rest = self.api("POST", "/events", bad, None, "?partial=true").json()
        events = [pb.Event(entity_id=e["entity_id"], event_type="ga_buy", value=pb.Value(float64_value=e.get("value", 0)), timestamp=proto(Timestamp, parse_us(e["timestamp"]))) for e in bad]
        (by_grpc,) = self.rpc_stream("StreamPublishEvents", [pb.StreamPublishEventsRequest(events=events)])
        self.equal("PublishEvents with partial, StreamPublishEvents", by_rest, published(by_grpc))
        window_feed.settle(self.rest)

    def explanations(self):
        pb = self.pb
        for as_of in ("2024-01-15T14:22:00Z", "2024-01-15T14:26:00Z", "2024-01-15T14:00:00Z"):
            by_rest = self.api("POST", "/features/explain", {"feature": "ra_sum", "entity_id": "w", "as_of": as_of}).json()
            message = self.rpc("ExplainFeature", pb.ExplainFeatureRequest(feature="ga_sum", entity_id="w", as_of=proto(Timestamp, parse_us(as_of))))
            flat = natural.flat(pb, message, natural.dtype_of(message))
            # When each was written is its own; and a REST row has a word for what a proto value says by being unset or null.
            for row in (by_rest["row"] or {}, flat["row"] or {}):
                for own in ("created_timestamp", "sequence", "status"):
                    row.pop(own, None)
            self.no_lack(f"ExplainFeature as of {as_of}", natural.lacking_within(unprefixed(by_rest, "ra_"), unprefixed(flat, "ga_")))

    def statistics(self):
        pb = self.pb
        by_rest = self.api("GET", "/features/{name}/statistics", None, None, f"?from={FROM}&to={TO}", name="ra_sum").json()
        request = pb.GetFeatureStatisticsRequest(feature="ga_sum", to=proto(Timestamp, parse_us(TO)))
        getattr(request, "from").CopyFrom(proto(Timestamp, parse_us(FROM)))
        message = self.rpc("GetFeatureStatistics", request)
        flat = natural.flat(pb, message, natural.dtype_of(message))
        self.report.check("GetFeatureStatistics has rows", by_rest["total"]["rows"] > 0, by_rest["total"])
        self.no_lack("GetFeatureStatistics", natural.lacking_within(unprefixed(by_rest, "ra_"), unprefixed(flat, "ga_")))
        # A feature of that name has an address of its own beside what explains.
        self.rest.good("POST", "/features/register", {"features": [{"name": "explain", "entity_type": "ra_user", "dtype": "bool"}]})
        self.report.equal("GET /features/explain is a feature", "explain", self.api("GET", "/features/explain").json()["name"])

    def administration(self):
        """What is of the whole server is one answer through both doors."""
        pb = self.pb
        for name, path, rpc in (("streams", "streams", "ListStreams"), ("backfills", "backfills", "ListBackfills"), ("late_events", "late-events", "ListLateEvents"), ("dead_letters", "dead-letters", "ListDeadLetters")):
            by_rest = self.api("GET", f"/admin/{path}").json()
            message = self.grpc.admin(rpc, getattr(pb, f"{rpc}Request")())
            flat = natural.flat(pb, message, None)
            self.no_lack(rpc, natural.lacking_within(by_rest, flat))
        self.report.equal("ListLateEvents: one of each door", ["ga_buy", "ra_buy"], sorted(e["event_type"] for e in self.rest.good("GET", "/admin/late-events").json()["late_events"]))


def published(message):
    rejected = [{"event": r.event, "field": r.field, "reason": r.reason} for r in message.rejected]
    return {"accepted": message.accepted, "unused": message.unused, "late": message.late, "duplicate": message.duplicate, "rejected": rejected}
