package example;

import java.util.List;
import java.util.Map;
import larder.v1.FeatureServiceGrpc.FeatureServiceBlockingStub;
import larder.v1.GetOnlineFeaturesRequest;
import larder.v1.GetOnlineFeaturesResponse;
import larder.v1.Schema;

/** One list of features, asked for again and again: its schema travels once. */
public final class Online {
  private record Held(long schemaId, Schema schema) {}

  private final FeatureServiceBlockingStub stub;
  private final List<String> features;
  private volatile Held held = new Held(0, null);

  public Online(FeatureServiceBlockingStub stub, List<String> features) {
    this.stub = stub;
    this.features = features;
  }

  /** The features of each entity. */
  public List<Map<String, Cell>> get(List<String> entityIds) {
    Held held = this.held;
    GetOnlineFeaturesResponse answer =
        stub.getOnlineFeatures(
            GetOnlineFeaturesRequest.newBuilder()
                .addAllEntityIds(entityIds)
                .addAllFeatures(features)
                .setSchemaId(held.schemaId)
                .build());
    Schema schema = answer.hasSchema() ? answer.getSchema() : held.schema;
    this.held = new Held(answer.getSchemaId(), schema);
    return answer.getRowsList().stream().map(row -> Cell.of(schema, row, false)).toList();
  }
}
