package example;

import com.google.protobuf.ByteString;
import java.math.BigDecimal;
import java.math.BigInteger;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.time.Instant;
import java.time.temporal.ChronoUnit;
import java.util.LinkedHashMap;
import java.util.Map;
import larder.v1.FeatureStatus;
import larder.v1.Row;
import larder.v1.Schema;

/**
 * One feature of one entity.
 *
 * @param value null where there is none; a list is a {@link larder.v1.List}, JSON its text
 * @param eventTimestamp null where no row was found
 */
public record Cell(Object value, FeatureStatus status, Instant eventTimestamp) {
  /** Turns a row into name -> value, in the order of the schema. */
  public static Map<String, Cell> of(Schema schema, Row row, boolean useDefaults) {
    Map<String, Cell> cells = new LinkedHashMap<>(schema.getFeaturesCount() * 2);
    for (int i = 0; i < schema.getFeaturesCount(); i++) {
      Schema.Feature feature = schema.getFeatures(i);
      FeatureStatus status = row.getStatuses(i);
      boolean defaulted = useDefaults && feature.getHasDefault() && status != FeatureStatus.ERROR;
      Object value = status == FeatureStatus.PRESENT || defaulted ? value(feature, row) : null;
      long us = row.getEventTimestampsUs(feature.getGroup());
      cells.put(feature.getName(), new Cell(value, status, us == Long.MIN_VALUE ? null : instant(us)));
    }
    return cells;
  }

  private static Object value(Schema.Feature feature, Row row) {
    int slot = feature.getSlot();
    return switch (feature.getDtype()) {
      case DTYPE_BOOL -> row.getBools(slot);
      case DTYPE_INT64 -> row.getInt64S(slot);
      case DTYPE_FLOAT64 -> row.getFloat64S(slot);
      case DTYPE_FLOAT32 -> row.getFloat32S(slot);
      case DTYPE_STRING -> row.getStrings(slot);
      case DTYPE_BYTES -> row.getBytesValues(slot);
      case DTYPE_TIMESTAMP -> instant(row.getTimestampsUs(slot));
      case DTYPE_JSON -> row.getJsons(slot);
      case DTYPE_DECIMAL ->
          decimal(row.getDecimals().substring(16 * slot, 16 * slot + 16), feature.getDecimalType().getScale());
      default -> row.getLists(slot);
    };
  }

  private static BigDecimal decimal(ByteString bytes, int scale) {
    ByteBuffer halves = bytes.asReadOnlyByteBuffer().order(ByteOrder.LITTLE_ENDIAN);
    BigInteger low = new BigInteger(Long.toUnsignedString(halves.getLong()));
    return new BigDecimal(BigInteger.valueOf(halves.getLong()).shiftLeft(64).add(low), scale);
  }

  private static Instant instant(long us) {
    return Instant.EPOCH.plus(us, ChronoUnit.MICROS);
  }
}
