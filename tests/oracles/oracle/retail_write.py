"""The file's rows written through REST or gRPC, one request after another, and what the answers counted."""

import json

from . import rest
from .moments import proto
from .retail_data import row_json
from .retail_model import Counts

JSON_ROWS = 2000
GRPC_ROWS = 2000


def rest_ndjson(client, rows, names):
    """All rows as one NDJSON body, sent in chunks."""

    def chunks():
        lines = []
        for row in rows:
            lines.append(json.dumps(row_json(row, names), ensure_ascii=False))
            if len(lines) == 1000:
                yield ("\n".join(lines) + "\n").encode()
                lines = []
        if lines:
            yield ("\n".join(lines) + "\n").encode()

    return _counts(client.good("POST", "/features/write", chunks(), {"Content-Type": rest.NDJSON}).json())


def rest_json(client, rows, names):
    """JSON bodies of some rows each, all or nothing each."""
    total = Counts()
    for piece in _pieces(rows, JSON_ROWS):
        total += _counts(client.good("POST", "/features/write", {"rows": [row_json(row, names) for row in piece]}).json())
    return total


def grpc_stream(client, rows, names):
    """One `StreamWriteFeatures`; answer i acknowledges request i."""
    pb = client.pb
    pieces = [[_proto_row(pb, row, names) for row in piece] for piece in _pieces(rows, GRPC_ROWS)]
    answers = list(client.stream("StreamWriteFeatures", (pb.StreamWriteFeaturesRequest(rows=piece) for piece in pieces)))
    if len(answers) != len(pieces):
        raise ValueError(f"{len(answers)} answers to {len(pieces)} requests")
    total = Counts()
    for piece, answer in zip(pieces, answers):
        counted = Counts(answer.accepted, answer.unchanged, len(answer.rejected))
        if counted.accepted + counted.unchanged + counted.rejected != len(piece):
            raise ValueError(f"{counted} do not add up to {len(piece)} rows")
        total += counted
    return total


WAYS = {"rest": rest_ndjson, "json": rest_json, "grpc": grpc_stream}


def _proto_row(pb, row, names):
    from google.protobuf.timestamp_pb2 import Timestamp

    message = pb.FeatureRow(event_timestamp=proto(Timestamp, row[0].moment_us))
    if len(row) == 1:
        message.entity_type = getattr(names, row[0].group)
        message.entity_id = row[0].entity
    else:
        for part in row:
            message.entities[getattr(names, part.group)] = part.entity
    for part in row:
        for name, value in zip(names.group_features(part.group), part.values):
            if value is None:
                message.values[name].null_value = True
            elif isinstance(value, float):
                message.values[name].float64_value = value
            else:
                message.values[name].string_value = value
    return message


def _counts(answer):
    rejected = answer["rejected"]
    return Counts(answer["accepted"], answer["unchanged"], len(rejected))


def _pieces(rows, size):
    piece = []
    for row in rows:
        piece.append(row)
        if len(piece) == size:
            yield piece
            piece = []
    if piece:
        yield piece
