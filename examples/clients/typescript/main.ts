// Prints some features of one entity: main.js ENTITY FEATURE...

import { createClient } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";
import { FeatureService } from "./gen/larder/v1/feature_service_pb.js";
import { FeatureStatus } from "./gen/larder/v1/online_pb.js";
import { Online } from "./online.js";

const url = (process.env.LARDER_URL ?? "127.0.0.1:8000").replace(/^http:\/\//, "");
const [entity = "", ...features] = process.argv.slice(2);

const client = createClient(FeatureService, createGrpcTransport({ baseUrl: `http://${url}` }));
const online = new Online(client, features, { "x-api-key": process.env.LARDER_KEY ?? "" });
const [row] = await online.get(entity);
for (const [name, { value, status }] of row ?? []) {
  console.log(`${name}\t${value}\t${FeatureStatus[status]}`);
}
