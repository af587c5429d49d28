import com.fasterxml.jackson.annotation.JsonIgnore;
import com.fasterxml.jackson.annotation.JsonProperty;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.ObjectReader;
import java.io.IOException;
import java.io.PrintWriter;
import java.io.UncheckedIOException;
import java.time.Duration;
import java.time.Instant;
import java.util.Map;
import java.util.Properties;
import java.util.concurrent.atomic.AtomicLong;
import org.apache.kafka.common.serialization.Deserializer;
import org.apache.kafka.common.serialization.Serde;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.common.utils.Bytes;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.Topology;
import org.apache.kafka.streams.kstream.Consumed;
import org.apache.kafka.streams.kstream.Materialized;
import org.apache.kafka.streams.kstream.TimeWindows;
import org.apache.kafka.streams.kstream.Windowed;
import org.apache.kafka.streams.state.Stores;
import org.apache.kafka.streams.state.WindowStore;

/**
 * {@code KafkaStreams BROKER TOPIC EVENTS STATE_DIR [RESULTS]}: sums {@code value} over 5 minutes sliding by
 * 1, and prints what it cost. With RESULTS, writes every result there as "entity, start of the window, sum".
 */
final class KafkaStreams {
    private static final Duration SIZE = Duration.ofMinutes(5);
    private static final Duration SLIDE = Duration.ofMinutes(1);
    private static final Duration GRACE = Duration.ofMinutes(10);
    private static final long CACHE_BYTES = Long.parseLong(System.getenv("CACHE_MB")) << 20;
    private static final boolean CHANGELOG = System.getenv("CHANGELOG").equals("on");

    private static final AtomicLong EVENTS = new AtomicLong();
    private static final AtomicLong ROWS = new AtomicLong();

    public static void main(String[] args) throws Exception {
        String topic = args[1];
        long events = Long.parseLong(args[2]);
        PrintWriter results = args.length > 4 ? new PrintWriter(args[4]) : null;

        var streams = new org.apache.kafka.streams.KafkaStreams(
            topology(topic, results), config(args[0], topic, args[3]));
        streams.setUncaughtExceptionHandler(error -> {
            error.printStackTrace();
            Runtime.getRuntime().halt(1);
            return null;
        });
        streams.start();
        awaitEvents(events / 10);
        Measurement measurement = Measurement.start(EVENTS.get());
        awaitEvents(events);
        // Closing empties the cache: the last results go out here.
        boolean closed = streams.close(Duration.ofMinutes(5));
        if (!closed || EVENTS.get() != events) {
            System.err.println("read " + EVENTS + " of " + events + " events, closed: " + closed);
            System.exit(1);
        }
        if (results != null) {
            results.close();
        }
        measurement.finish("kafka-streams", events, ROWS.get());
    }

    private static Properties config(String broker, String topic, String stateDirectory) {
        Properties config = new Properties();
        config.put("application.id", "windows-" + topic);
        config.put("bootstrap.servers", broker);
        config.put("auto.offset.reset", "earliest");
        config.put("num.stream.threads", 1);
        config.put("processing.guarantee", "at_least_once");
        config.put("commit.interval.ms", 30_000);
        config.put("statestore.cache.max.bytes", CACHE_BYTES);
        config.put("state.dir", stateDirectory);
        return config;
    }

    private static Topology topology(String topic, PrintWriter results) {
        Consumed<String, Event> consumed = Consumed.with(Serdes.String(), eventSerde())
            .withTimestampExtractor((event, partitionTime) -> ((Event) event.value()).millis);
        StreamsBuilder builder = new StreamsBuilder();
        builder.stream(topic, consumed)
            .peek((entity, event) -> increment(EVENTS))
            .groupByKey()
            .windowedBy(TimeWindows.ofSizeAndGrace(SIZE, GRACE).advanceBy(SLIDE))
            .aggregate(() -> 0.0, (entity, event, sum) -> sum + event.value, store())
            .toStream()
            .foreach((window, sum) -> row(window, sum, results));
        return builder.build();
    }

    private static Materialized<String, Double, WindowStore<Bytes, byte[]>> store() {
        var supplier = Stores.inMemoryWindowStore("sums", SIZE.plus(GRACE), SIZE, false);
        Materialized<String, Double, WindowStore<Bytes, byte[]>> store =
            Materialized.<String, Double>as(supplier)
                .withKeySerde(Serdes.String())
                .withValueSerde(Serdes.Double());
        store = CACHE_BYTES > 0 ? store.withCachingEnabled() : store.withCachingDisabled();
        return CHANGELOG ? store.withLoggingEnabled(Map.of()) : store.withLoggingDisabled();
    }

    private static void row(Windowed<String> window, double sum, PrintWriter results) {
        increment(ROWS);
        if (results != null) {
            results.println(window.key() + "\t" + window.window().start() + "\t" + sum);
        }
    }

    private static void awaitEvents(long wanted) throws InterruptedException {
        while (EVENTS.get() < wanted) {
            Thread.sleep(5);
        }
    }

    /** The stream thread alone writes, so an event need not pay for an atomic addition. */
    private static void increment(AtomicLong count) {
        count.lazySet(count.getPlain() + 1);
    }

    private static Serde<Event> eventSerde() {
        ObjectReader reader = new ObjectMapper().readerFor(Event.class);
        Deserializer<Event> deserializer = (topic, json) -> {
            try {
                Event event = reader.readValue(json);
                event.millis = Instant.parse(event.timestamp).toEpochMilli();
                return event;
            } catch (IOException error) {
                throw new UncheckedIOException(error);
            }
        };
        return Serdes.serdeFrom(
            (topic, event) -> {
                throw new UnsupportedOperationException("events are only read");
            },
            deserializer);
    }

    /** What Jackson fills: every field of the event. */
    public static final class Event {
        @JsonProperty("entity_id")
        public String entityId;

        @JsonProperty("event_type")
        public String eventType;

        public double value;
        public String timestamp;
        public Map<String, Object> metadata;

        @JsonIgnore
        long millis;
    }
}
