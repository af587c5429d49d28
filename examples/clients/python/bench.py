"""How long an answer takes in Python once its bytes are here: 250 doubles in 10 groups, the schema held."""

import timeit

from larder.v1 import online_pb2 as pb
from larder.v1 import value_pb2

from online import Layout

schema = pb.Schema(
    features=[
        {"name": f"feature_{i}", "dtype": value_pb2.DTYPE_FLOAT64, "slot": i, "group": i // 25} for i in range(250)
    ]
)
layout = Layout(schema)
row = pb.Row(statuses=[pb.PRESENT] * 250, event_timestamps_us=range(10), float64s=[i + 0.5 for i in range(250)])


def naive(row):
    """The same values without a layout, for comparison."""
    return {f.name: getattr(row, "float64s")[f.slot] for f in schema.features}


for rows in 1, 100:
    encoded = pb.GetOnlineFeaturesResponse(schema_id=1, rows=[row] * rows).SerializeToString()
    answer = pb.GetOnlineFeaturesResponse.FromString(encoded)

    def microseconds(work):
        number = 2000 // rows
        return min(timeit.repeat(work, number=number, repeat=7)) / number * 1e6

    print(
        f"python\t{rows}x250\t{len(encoded)} bytes",
        f"decode {microseconds(lambda: pb.GetOnlineFeaturesResponse.FromString(encoded)):.1f} us",
        f"values {microseconds(lambda: [layout.values(r) for r in answer.rows]):.1f} us",
        f"statuses {microseconds(lambda: [layout.statuses(r) for r in answer.rows]):.1f} us",
        f"times {microseconds(lambda: [layout.event_timestamps_us(r) for r in answer.rows]):.1f} us",
        f"values by getattr {microseconds(lambda: [naive(r) for r in answer.rows]):.1f} us",
        sep="\t",
    )
