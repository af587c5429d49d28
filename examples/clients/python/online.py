"""From the answer's typed arrays to name -> value."""

from decimal import Decimal

from larder.v1 import online_pb2 as pb
from larder.v1 import value_pb2

ARRAYS = {
    value_pb2.DTYPE_BOOL: "bools",
    value_pb2.DTYPE_INT64: "int64s",
    value_pb2.DTYPE_FLOAT64: "float64s",
    value_pb2.DTYPE_FLOAT32: "float32s",
    value_pb2.DTYPE_STRING: "strings",
    value_pb2.DTYPE_BYTES: "bytes_values",
    value_pb2.DTYPE_TIMESTAMP: "timestamps_us",
    value_pb2.DTYPE_JSON: "jsons",
}
STATUSES = {number: name for name, number in pb.FeatureStatus.items()}
NEVER = -(2**63)


class Layout:
    """Where the rows of one schema hold what.

    Slots count the features of an array in order, so an array goes into a dict in one zip.
    """

    def __init__(self, schema, use_defaults=False):
        self.names = [f.name for f in schema.features]
        self.groups = [f.group for f in schema.features]
        self.defaulted = [use_defaults and f.has_default for f in schema.features]
        self.arrays, self.decimals = {}, []
        for f in schema.features:
            if f.dtype == value_pb2.DTYPE_DECIMAL:
                self.decimals.append((f.name, 16 * f.slot, f.decimal_type.scale))
            else:
                self.arrays.setdefault(ARRAYS.get(f.dtype, "lists"), []).append(f.name)

    def values(self, row):
        """None where there is none. Timestamps are microseconds, JSON is text, a list is a `List` message."""
        values = {}
        for array, names in self.arrays.items():
            values.update(zip(names, getattr(row, array)))
        for name, at, scale in self.decimals:
            unscaled = int.from_bytes(row.decimals[at : at + 16], "little", signed=True)
            values[name] = Decimal(f"{unscaled}e-{scale}")
        for name, status, defaulted in zip(self.names, row.statuses, self.defaulted):
            if status != pb.PRESENT and not (defaulted and status != pb.ERROR):
                values[name] = None
        return values

    def statuses(self, row):
        return dict(zip(self.names, map(STATUSES.get, row.statuses)))

    def event_timestamps_us(self, row):
        times = [None if us == NEVER else us for us in row.event_timestamps_us]
        return {name: times[group] for name, group in zip(self.names, self.groups)}


class Online:
    """One list of features, asked for again and again: its schema travels once."""

    def __init__(self, stub, features, metadata=()):
        self.stub, self.features, self.metadata = stub, features, metadata
        self.held = 0, None

    def get(self, entity_ids):
        """The layout, and a row for each entity."""
        schema_id, layout = self.held
        request = pb.GetOnlineFeaturesRequest(entity_ids=entity_ids, features=self.features, schema_id=schema_id)
        answer = self.stub.GetOnlineFeatures(request, metadata=self.metadata)
        if answer.HasField("schema"):
            layout = Layout(answer.schema)
            self.held = answer.schema_id, layout
        return layout, answer.rows
