"""`larder serve` as a child process on a free port with its own data directory."""

import os
import pathlib
import signal
import socket
import subprocess
import tempfile
import time
import urllib.request

START_S_MAX = 20


class Server:
    """Starts on construction; `kill()` is SIGKILL, `stop()` SIGTERM; `start()` again keeps port and data."""

    def __init__(self, binary, data_dir=None, environment=None, arguments=()):
        self.binary = binary
        self.data_dir = pathlib.Path(data_dir or tempfile.mkdtemp(prefix="larder-oracle-"))
        self.environment = environment or {}
        self.arguments = list(arguments)
        self.port = _free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log_path = self.data_dir.with_name(self.data_dir.name + ".log")
        self.child = None
        self.start()

    def start(self):
        started = time.monotonic()
        self.spawn()
        while not self._ready():
            if self.child.poll() is not None:
                raise RuntimeError(f"larder ended with {self.child.returncode}: {self.log()[-2000:]}")
            if time.monotonic() - started > START_S_MAX:
                raise RuntimeError(f"not ready after {START_S_MAX} s: {self.log()[-2000:]}")
            time.sleep(0.01)
        self.start_s = time.monotonic() - started
        return self

    def spawn(self):
        """Starts the process without waiting for it to be ready."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith("LARDER_")}
        environment.update(self.environment)
        with open(self.log_path, "ab") as log:
            self.child = subprocess.Popen(
                [self.binary, "serve", "--data-dir", str(self.data_dir), "--listen", f"127.0.0.1:{self.port}", *self.arguments],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment,
            )

    @property
    def key(self):
        return (self.data_dir / "admin.key").read_text().strip()

    def kill(self):
        self.child.send_signal(signal.SIGKILL)
        self.child.wait()

    def stop(self, timeout_s=30):
        """Its exit code; SIGTERM must drain and exit 0."""
        self.child.send_signal(signal.SIGTERM)
        try:
            return self.child.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.kill()
            return "did not end on SIGTERM"

    def restart(self):
        code = self.stop()
        self.start()
        return code

    def alive(self):
        return self.child.poll() is None

    def log(self):
        return self.log_path.read_text(errors="replace")

    def memory_mib(self):
        """Anonymous resident memory."""
        for line in pathlib.Path(f"/proc/{self.child.pid}/status").read_text().splitlines():
            if line.startswith("RssAnon:"):
                return int(line.split()[1]) / 1024
        return float("nan")

    def _ready(self):
        try:
            with urllib.request.urlopen(f"{self.url}/ready", timeout=1) as answer:
                return answer.status == 200
        except OSError:
            return False

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.alive():
            self.stop()


def _free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
