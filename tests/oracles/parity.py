#!/usr/bin/env python3
"""One question, one answer: every RPC and every REST path, compared; then every RPC again through grpcurl by reflection.

Mutating calls are made twice over mirrored names (`ra…` through REST, `ga…` through gRPC) and compared after renaming.
At the end it checks that no RPC of the service and no path of the OpenAPI document was left out.

    python3 parity.py --larder target/release/larder     # its own server
    python3 parity.py URL KEY                            # a server that runs already, on an empty store
"""

import argparse
import pathlib
import re
import shutil
import sys
import tempfile

from oracle import rest
from oracle.grpcurl import Grpcurl, find
from oracle.parity_ask import settled
from oracle.parity_catalogue import Catalogue
from oracle.parity_events import Events
from oracle.parity_reads import Reads
from oracle.parity_rows import Rows
from oracle.report import Report
from oracle.server import Server


class Parity(Catalogue, Rows, Reads, Events):
    """All the parts, then what must have been asked, and the same by reflection."""

    def own_pages(self):
        for path in ("/health", "/ready", "/metrics"):
            self.get("GET", path)
            self.report.check(f"GET {path}", True)
        if self.rest.call("GET", "/openapi.json").status == 404:
            print("     no OpenAPI document: paths are not counted")
            self.all_asked()
            return
        document = self.get("GET", rest.API + "/openapi.json").json()
        offered = {(method.upper(), path) for path, verbs in document["paths"].items() for method in verbs if method in ("get", "post", "put", "delete", "patch")}
        shape = lambda pairs: {(m, re.sub(r"\{\w+\}", "{}", p)) for m, p in pairs}  # noqa: E731
        self.report.check("every path of the OpenAPI document was asked", not shape(offered) - shape(self.asked_rest), sorted(shape(offered) - shape(self.asked_rest)) or "")
        self.report.check("every path asked stands in the OpenAPI document", not shape(self.asked_rest) - shape(offered), sorted(shape(self.asked_rest) - shape(offered)) or "")
        self.all_asked()

    def all_asked(self):
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
                if name == "WriteFeatures":
                    self.grpc.unary(name, requests[0])  # Its rows correct each other: from here on every answer is the same.
                if streaming:
                    direct = list(self.grpc.stream(name, requests))
                else:
                    direct = [self.grpc.unary(name, requests[0])]
                by_curl = curl.call(f"larder.v1.FeatureService/{name}", requests, kind)
                same = [settled(a) for a in direct] == [settled(b) for b in by_curl]
                self.report.check(f"grpcurl {name} answers as the stub", same, "" if same else f"{str(direct)[:300]} / {str(by_curl)[:300]}")

            self.report.attempt(f"grpcurl {name}", both)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url", nargs="?")
    parser.add_argument("key", nargs="?")
    parser.add_argument("--larder", help="start this binary with a data directory of its own")
    arguments = parser.parse_args()
    report = Report()

    def run(url, key):
        parity = Parity(url, key, report)
        for step in (parity.register, parity.catalogue, parity.feature_sets, parity.writes, parity.history, parity.online, parity.training_sets, parity.invalidation, parity.errors, parity.events, parity.explanations, parity.statistics, parity.administration, parity.own_pages, parity.reflection):
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
