// From the answer's typed arrays to name -> value.

import type { Client } from "@connectrpc/connect";
import type { FeatureService } from "./gen/larder/v1/feature_service_pb.js";
import { FeatureStatus, type Row, type Schema } from "./gen/larder/v1/online_pb.js";
import { Dtype, type List } from "./gen/larder/v1/value_pb.js";

export type Value = boolean | bigint | number | string | Uint8Array | List;
export type Cell = {
  /** Left out where there is none. A timestamp is microseconds, JSON its text, a decimal its digits. */
  value?: Value;
  status: FeatureStatus;
  /** Left out where no row was found. */
  eventTimestampUs?: bigint;
};

const NEVER = -(2n ** 63n);

export function cells(schema: Schema, row: Row, useDefaults = false): Map<string, Cell> {
  const arrays: { [dtype: number]: Value[] } = {
    [Dtype.BOOL]: row.bools,
    [Dtype.INT64]: row.int64s,
    [Dtype.FLOAT64]: row.float64s,
    [Dtype.FLOAT32]: row.float32s,
    [Dtype.STRING]: row.strings,
    [Dtype.BYTES]: row.bytesValues,
    [Dtype.TIMESTAMP]: row.timestampsUs,
    [Dtype.JSON]: row.jsons,
  };
  const cells = new Map<string, Cell>();
  schema.features.forEach((f, i) => {
    const status = row.statuses[i]!;
    const us = row.eventTimestampsUs[f.group];
    const defaulted = useDefaults && f.hasDefault && status !== FeatureStatus.ERROR;
    const filled = status === FeatureStatus.PRESENT || defaulted;
    const value = () =>
      f.dtype === Dtype.DECIMAL ? decimal(row.decimals, f.slot, f.decimalType!.scale) : (arrays[f.dtype] ?? row.lists)[f.slot];
    cells.set(f.name, {
      value: filled ? value() : undefined,
      status,
      eventTimestampUs: us === NEVER ? undefined : us,
    });
  });
  return cells;
}

/** An integer of 128 bits, its point put where it belongs. */
function decimal(bytes: Uint8Array, slot: number, scale: number): string {
  const halves = new DataView(bytes.buffer, bytes.byteOffset + 16 * slot, 16);
  const unscaled = (halves.getBigInt64(8, true) << 64n) | halves.getBigUint64(0, true);
  const digits = String(unscaled < 0n ? -unscaled : unscaled).padStart(scale + 1, "0");
  const point = digits.length - scale;
  return (unscaled < 0n ? "-" : "") + digits.slice(0, point) + (scale > 0 ? "." + digits.slice(point) : "");
}

/** One list of features, asked for again and again: its schema travels once. */
export class Online {
  private held: { schemaId?: bigint; schema?: Schema } = {};

  constructor(
    private client: Client<typeof FeatureService>,
    private features: string[],
    private headers: HeadersInit,
  ) {}

  /** The features of each entity. */
  async get(...entityIds: string[]): Promise<Map<string, Cell>[]> {
    let { schemaId, schema } = this.held;
    const request = { entityIds, features: this.features, schemaId };
    const answer = await this.client.getOnlineFeatures(request, { headers: this.headers });
    if (answer.schema) {
      this.held = { schemaId: answer.schemaId, schema: answer.schema };
      schema = answer.schema;
    }
    return answer.rows.map((row) => cells(schema!, row));
  }
}
