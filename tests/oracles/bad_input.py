#!/usr/bin/env python3
"""Bad input through both transports: every row of the table that needs no other service.

Prints input, transport, expected, got, ok. The exit code is the number of failures.

    python3 bad_input.py --larder target/release/larder       # its own server; memory and log are watched too
    python3 bad_input.py URL KEY                              # a server that runs already, on an empty store
    ... --only rest|wire|grpc
"""

import argparse
import pathlib
import shutil
import sys
import tempfile
from contextlib import ExitStack

from oracle import bad_grpc, bad_rest
from oracle.bad_setup import Findings, registration, wide_registrations
from oracle.report import table
from oracle.rest import Rest
from oracle.server import Server
from oracle.stubs import Grpc

PARTS = ("rest", "wire", "grpc")


def run(url, key, findings, parts, memory_mib):
    client = Rest(url, key, timeout_s=30)
    for body in (registration(), *wide_registrations()):
        client.good("POST", "/features/register", body)
    steps = {
        "rest": lambda: bad_rest.cases(client, findings, key),
        "wire": lambda: bad_rest.wire_cases(client, findings, key, memory_mib),
        "grpc": lambda: bad_grpc.cases(Grpc(url, key, timeout_s=30), findings, key, memory_mib),
    }
    for part in parts:
        try:
            steps[part]()
        except Exception as failure:  # noqa: BLE001 - an answer that never came is a finding too
            findings.add(f"the rest of part {part}", part, "runs to its end", f"{type(failure).__name__}: {failure}", False)
    health = Rest(url, None, timeout_s=10).call("GET", "//health")
    findings.add("alive afterwards", "REST", "200", str(health.status), health.status == 200)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url", nargs="?")
    parser.add_argument("key", nargs="?")
    parser.add_argument("--larder", help="start this binary with a data directory of its own")
    parser.add_argument("--only", choices=PARTS)
    arguments = parser.parse_args()
    parts = [arguments.only] if arguments.only else PARTS
    findings = Findings()
    with ExitStack() as stack:
        if arguments.larder:
            directory = pathlib.Path(tempfile.mkdtemp(prefix="larder-bad-input-"))
            stack.callback(shutil.rmtree, directory, ignore_errors=True)
            server = stack.enter_context(Server(arguments.larder, directory / "data"))
            run(server.url, server.key, findings, parts, server.memory_mib)
            findings.add("process lives", "both", "yes", "yes" if server.alive() else "no", server.alive())
            panics = [line for line in server.log().splitlines() if "panicked" in line]
            findings.add("no panic in the log", "both", "none", f"{len(panics)} {panics[:1]}", not panics)
        elif arguments.url and arguments.key:
            run(arguments.url, arguments.key, findings, parts, lambda: float("nan"))
        else:
            parser.error("either URL and KEY, or --larder")
    table([(f.input, f.transport, f.expected, f.got, "ok" if f.ok else "FAIL") for f in findings.rows], ("input", "transport", "expected", "got", "ok"))
    failed = [f for f in findings.rows if not f.ok]
    print(f"\n{len(findings.rows)} cases, {len(failed)} failed")
    return min(len(failed), 125)


if __name__ == "__main__":
    sys.exit(main())
