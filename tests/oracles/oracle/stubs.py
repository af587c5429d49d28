"""The gRPC stubs, generated from `proto/` into a temporary directory each time: never stale, nothing to commit."""

import importlib
import pathlib
import sys
import tempfile
import types

import grpc
import grpc_tools
from grpc_tools import protoc

PROTO = pathlib.Path(__file__).resolve().parents[3] / "proto"
MESSAGE_BYTES_MAX = 64 << 20

_generated = None


def messages():
    """Every message and enum of `larder.v1` as attributes of one namespace, plus `Stub`."""
    global _generated
    if _generated is None:
        _generated = _generate()
    return _generated


def channel(url):
    """A channel to `http://host:port`, with room for large answers."""
    return grpc.insecure_channel(
        url.split("://", 1)[-1].rstrip("/"),
        options=[
            ("grpc.max_receive_message_length", MESSAGE_BYTES_MAX),
            ("grpc.max_send_message_length", MESSAGE_BYTES_MAX),
            # A restarted server is met at once, not after a growing pause.
            ("grpc.max_reconnect_backoff_ms", 200),
            ("grpc.initial_reconnect_backoff_ms", 50),
            ("grpc.min_reconnect_backoff_ms", 50),
            ("grpc.use_local_subchannel_pool", 1),
        ],
    )


def _generate():
    directory = tempfile.mkdtemp(prefix="larder-stubs-")
    well_known = pathlib.Path(grpc_tools.__file__).parent / "_proto"
    files = sorted(str(p.relative_to(PROTO)) for p in PROTO.rglob("*.proto"))
    arguments = ["protoc", f"-I{PROTO}", f"-I{well_known}", f"--python_out={directory}", f"--grpc_python_out={directory}", *files]
    if protoc.main(arguments) != 0:
        raise RuntimeError(f"protoc failed on {files}")
    sys.path.insert(0, directory)
    everything = types.SimpleNamespace()
    for file in files:
        module = importlib.import_module(file.removesuffix(".proto").replace("/", ".") + "_pb2")
        for name in module.DESCRIPTOR.message_types_by_name:
            setattr(everything, name, getattr(module, name))
        for name, enum in module.DESCRIPTOR.enum_types_by_name.items():
            setattr(everything, name, getattr(module, name))
            for value in enum.values:
                setattr(everything, value.name, value.number)
    service = importlib.import_module("larder.v1.feature_service_pb2_grpc")
    everything.Stub = service.FeatureServiceStub
    everything.SERVICE = importlib.import_module("larder.v1.feature_service_pb2").DESCRIPTOR.services_by_name["FeatureService"]
    everything.AdminStub = importlib.import_module("larder.v1.admin_service_pb2_grpc").AdminServiceStub
    return everything


class Grpc:
    """One authenticated client: `client.unary("GetFeature", request)`, `client.stream("StreamWriteFeatures", iterator)`."""

    def __init__(self, url, key, timeout_s=600):
        self.pb = messages()
        self.channel = channel(url)
        self.stub, self.admin_stub = self.pb.Stub(self.channel), self.pb.AdminStub(self.channel)
        self.metadata = [("x-api-key", key)] if key else []
        self.timeout_s = timeout_s

    def admin(self, rpc, request):
        return getattr(self.admin_stub, rpc)(request, metadata=self.metadata, timeout=self.timeout_s)

    def unary(self, rpc, request, metadata=None, timeout_s=None):
        return getattr(self.stub, rpc)(
            request, metadata=self.metadata if metadata is None else metadata, timeout=timeout_s or self.timeout_s
        )

    def stream(self, rpc, requests, metadata=None, timeout_s=None):
        return getattr(self.stub, rpc)(
            iter(requests), metadata=self.metadata if metadata is None else metadata, timeout=timeout_s or self.timeout_s
        )

    def close(self):
        self.channel.close()
