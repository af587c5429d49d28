package example;

import java.util.Collections;
import java.util.stream.IntStream;
import larder.v1.Dtype;
import larder.v1.FeatureStatus;
import larder.v1.GetOnlineFeaturesResponse;
import larder.v1.Row;
import larder.v1.Schema;

/** How long an answer takes in Java once its bytes are here: 250 doubles in 10 groups, the schema held. */
public final class Bench {
  private interface Work {
    Object run() throws Exception;
  }

  private static Object kept;

  public static void main(String[] args) throws Exception {
    var schema = Schema.newBuilder();
    var row = Row.newBuilder().addAllEventTimestampsUs(Collections.nCopies(10, 0L));
    for (int i = 0; i < 250; i++) {
      schema.addFeatures(
          Schema.Feature.newBuilder()
              .setName("feature_" + i)
              .setDtype(Dtype.DTYPE_FLOAT64)
              .setSlot(i)
              .setGroup(i / 25));
      row.addStatuses(FeatureStatus.PRESENT).addFloat64S(i + 0.5);
    }
    var held = schema.build();
    for (int rows : new int[] {1, 100}) {
      byte[] encoded =
          GetOnlineFeaturesResponse.newBuilder()
              .setSchemaId(1)
              .addAllRows(Collections.nCopies(rows, row.build()))
              .build()
              .toByteArray();
      var answer = GetOnlineFeaturesResponse.parseFrom(encoded);
      System.out.printf(
          "java\t%dx250\t%d bytes\tdecode %.1f us\tcells %.1f us%n",
          rows,
          encoded.length,
          microseconds(20_000 / rows, () -> GetOnlineFeaturesResponse.parseFrom(encoded)),
          microseconds(
              20_000 / rows,
              () -> answer.getRowsList().stream().map(r -> Cell.of(held, r, false)).toList()));
    }
  }

  /** The best of ten runs; the first ones warm the compiler up. */
  private static double microseconds(int times, Work work) throws Exception {
    double best = Double.MAX_VALUE;
    for (int run : IntStream.range(0, 10).toArray()) {
      long start = System.nanoTime();
      for (int i = 0; i < times; i++) {
        kept = work.run();
      }
      best = Math.min(best, (System.nanoTime() - start) / 1e3 / times);
    }
    return best;
  }
}
