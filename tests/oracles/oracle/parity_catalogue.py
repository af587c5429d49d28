"""Registration, versions, listing and feature sets through both doors."""

from google.protobuf.duration_pb2 import Duration

from . import natural
from .parity_ask import FEATURES, Asking, grpc_pages, pages, query, unprefixed


class Catalogue(Asking):
    def register(self):
        pb = self.pb

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
                    name=f["name"], entity_type=f["entity_type"], group=f.get("group", ""),
                    description=f.get("description", ""), owner=f.get("owner", ""), tags=f.get("tags", {}), allow_non_finite=f.get("allow_non_finite", False),
                )
                natural.set_dtype(definition, f["dtype"])
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
            for own in ("name", "ref", "created_at"):
                by_rest.pop(own, None), by_grpc.pop(own, None)
            self.no_lack(f"PutFeatureSet {content}", natural.lacking(by_rest, by_grpc))
        for name in ("ra_set", "ra_set@1", "ga_set@2"):
            by_rest = self.api("GET", "/feature-sets/{name}", name=name).json()
            self.no_lack(f"GetFeatureSet {name}", natural.lacking(by_rest.get("feature_set", by_rest), natural.feature_set(self.rpc("GetFeatureSet", pb.GetFeatureSetRequest(name=name)).feature_set)))
        for size in (0, 1):
            by_rest = pages(lambda token: self.api("GET", "/feature-sets", None, None, query({}, size, token)).json(), "feature_sets")
            by_grpc = [natural.feature_set(s) for page in grpc_pages(lambda token: self.rpc("ListFeatureSets", pb.ListFeatureSetsRequest(page_size=size, page_token=token))) for s in page.feature_sets]
            self.no_lack(f"ListFeatureSets by {size or 'default'}: {len(by_rest)}", [f"{len(by_rest)} and {len(by_grpc)}"] * (len(by_rest) != len(by_grpc)) + [line for a, b in zip(by_rest, by_grpc) for line in natural.lacking(a, b)])
