import java.io.BufferedOutputStream;
import java.io.IOException;
import java.io.OutputStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Instant;
import java.time.ZoneOffset;
import java.time.format.DateTimeFormatter;
import java.util.Random;

/**
 * {@code Events FILE COUNT ENTITIES}: writes the same events every time, one JSON object a line, shaped as
 * those of {@code benches/window.rs}.
 */
final class Events {
    private static final long START_MILLIS = 1_700_000_000_000L;
    private static final long SPAN_MILLIS = 600_000;
    private static final int DISORDER_MILLIS = 30_000;
    private static final int VALUES = 50_000;
    private static final DateTimeFormatter SECONDS =
        DateTimeFormatter.ofPattern("yyyy-MM-dd'T'HH:mm:ss").withZone(ZoneOffset.UTC);

    public static void main(String[] args) throws IOException {
        long count = Long.parseLong(args[1]);
        int entities = Integer.parseInt(args[2]);
        Random random = new Random(42);
        try (OutputStream file = new BufferedOutputStream(Files.newOutputStream(Path.of(args[0])), 1 << 20)) {
            for (long at = 0; at < count; at++) {
                long logTime = START_MILLIS + SPAN_MILLIS * at / count;
                long millis = logTime - random.nextInt(DISORDER_MILLIS);
                String event = event(random.nextInt(entities), random.nextInt(VALUES), millis);
                file.write(event.getBytes(StandardCharsets.US_ASCII));
            }
        }
    }

    private static String event(int entity, int cents, long millis) {
        return "{\"entity_id\":\"user_" + entity
            + "\",\"event_type\":\"purchase\",\"value\":" + cents / 100 + '.' + digits(cents % 100, 2)
            + ",\"timestamp\":\"" + SECONDS.format(Instant.ofEpochMilli(millis)) + '.'
            + digits((int) (millis % 1000), 3) + "000Z\",\"metadata\":{}}\n";
    }

    private static String digits(int number, int width) {
        String text = Integer.toString(number);
        return "0".repeat(width - text.length()) + text;
    }
}
