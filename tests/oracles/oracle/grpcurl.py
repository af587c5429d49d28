"""grpcurl by reflection: no proto file is given to it."""

import json
import pathlib
import shutil
import subprocess

from google.protobuf import json_format


def find():
    """On the path, or where `go install` puts it."""
    if found := shutil.which("grpcurl"):
        return found
    try:
        gopath = subprocess.run(["go", "env", "GOPATH"], capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
    candidate = pathlib.Path(gopath) / "bin" / "grpcurl"
    return str(candidate) if candidate.exists() else None


class Grpcurl:
    def __init__(self, binary, url, key):
        self.base = [binary, "-plaintext", "-H", f"x-api-key: {key}", "-max-msg-sz", str(64 << 20), "-max-time", "30"]
        self.address = url.split("://", 1)[-1]

    def run(self, *arguments, stdin=""):
        done = subprocess.run([*self.base, *arguments], input=stdin, capture_output=True, text=True, timeout=60)
        if done.returncode != 0:
            raise RuntimeError(f"grpcurl {' '.join(arguments)}: {done.stderr.strip()[:500]}")
        return done.stdout

    def list(self, *what):
        return self.run(self.address, "list", *what).split()

    def describe(self, symbol):
        return self.run(self.address, "describe", symbol)

    def call(self, method, requests, answer_class):
        """Messages in, messages out; several for streams."""
        body = "\n".join(json_format.MessageToJson(request) for request in requests)
        out = self.run("-d", "@", self.address, method, stdin=body)
        decoder, answers, at = json.JSONDecoder(), [], 0
        while at < len(out.rstrip()):
            while out[at].isspace():
                at += 1
            document, at = decoder.raw_decode(out, at)
            answers.append(json_format.ParseDict(document, answer_class()))
        return answers
