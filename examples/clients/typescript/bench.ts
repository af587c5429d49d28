// How long an answer takes in TypeScript once its bytes are here: 250 doubles in 10 groups, the schema held.

import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { FeatureStatus, GetOnlineFeaturesResponseSchema, RowSchema, SchemaSchema } from "./gen/larder/v1/online_pb.js";
import { Dtype } from "./gen/larder/v1/value_pb.js";
import { cells } from "./online.js";

const numbers = Array.from({ length: 250 }, (_, i) => i);
const schema = create(SchemaSchema, {
  features: numbers.map((i) => ({
    name: `feature_${i}`,
    dtype: Dtype.FLOAT64,
    slot: i,
    group: Math.floor(i / 25),
  })),
});
const row = create(RowSchema, {
  statuses: numbers.map(() => FeatureStatus.PRESENT),
  eventTimestampsUs: Array(10).fill(0n),
  float64s: numbers.map((i) => i + 0.5),
});

for (const rows of [1, 100]) {
  const encoded = toBinary(
    GetOnlineFeaturesResponseSchema,
    create(GetOnlineFeaturesResponseSchema, { schemaId: 1n, rows: Array(rows).fill(row) }),
  );
  const decode = () => fromBinary(GetOnlineFeaturesResponseSchema, encoded);
  const answer = decode();
  const microseconds = (work: () => unknown) => {
    const runs = Array.from({ length: 7 }, () => {
      const start = performance.now();
      for (let i = 0; i < 10_000 / rows; i++) work();
      return ((performance.now() - start) * 1_000) / (10_000 / rows);
    });
    return Math.min(...runs).toFixed(1);
  };
  const unpack = () => answer.rows.map((row) => cells(schema, row));
  console.log(
    `typescript\t${rows}x250\t${encoded.length} bytes\tdecode ${microseconds(decode)} us\tcells ${microseconds(unpack)} us`,
  );
}
