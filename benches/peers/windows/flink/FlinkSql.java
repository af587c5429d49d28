import java.io.PrintWriter;
import java.time.LocalDateTime;
import java.time.ZoneOffset;
import java.util.Map;
import java.util.Properties;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ConcurrentHashMap;
import org.apache.flink.configuration.Configuration;
import org.apache.flink.metrics.Counter;
import org.apache.flink.metrics.Metric;
import org.apache.flink.metrics.MetricConfig;
import org.apache.flink.metrics.MetricGroup;
import org.apache.flink.metrics.reporter.MetricReporter;
import org.apache.flink.metrics.reporter.MetricReporterFactory;
import org.apache.flink.table.api.EnvironmentSettings;
import org.apache.flink.table.api.TableEnvironment;
import org.apache.flink.types.Row;
import org.apache.flink.util.CloseableIterator;

/**
 * {@code FlinkSql FILE EVENTS [RESULTS]}: sums {@code value} over 5 minutes sliding by 1, in a cluster inside
 * this process, and prints what it cost. With RESULTS, instead writes every result there as "entity, start of
 * the window, sum".
 */
public final class FlinkSql {
    private static final String EVENTS_TABLE = """
        CREATE TABLE events (
            entity_id STRING,
            event_type STRING,
            `value` DOUBLE,
            `timestamp` TIMESTAMP_LTZ(3),
            metadata MAP<STRING, STRING>,
            WATERMARK FOR `timestamp` AS `timestamp` - INTERVAL '30' SECOND
        ) WITH (
            'connector' = 'filesystem',
            'path' = '%s',
            'format' = 'json',
            'json.timestamp-format.standard' = 'ISO-8601'
        )""";

    private static final String SINK_TABLE = """
        CREATE TABLE sink (
            entity_id STRING,
            window_start TIMESTAMP(3),
            window_end TIMESTAMP(3),
            total DOUBLE
        ) WITH ('connector' = 'blackhole')""";

    private static final String SUMS = """
        SELECT entity_id, window_start, window_end, SUM(`value`) AS total
        FROM HOP(TABLE events, DESCRIPTOR(`timestamp`), INTERVAL '1' MINUTE, INTERVAL '5' MINUTES)
        GROUP BY entity_id, window_start, window_end""";

    public static void main(String[] args) throws Exception {
        TableEnvironment tables = TableEnvironment.create(
            EnvironmentSettings.newInstance().inStreamingMode().withConfiguration(config()).build());
        tables.executeSql(EVENTS_TABLE.formatted("file://" + args[0]));
        if (args.length > 2) {
            writeResults(tables, args[2]);
        } else {
            measure(tables, Long.parseLong(args[1]));
        }
        System.exit(0);
    }

    private static Configuration config() {
        Configuration config = new Configuration();
        config.setString("execution.target", "local");
        config.setString("parallelism.default", "1");
        config.setString("pipeline.object-reuse", "true");
        config.setString("state.backend.type", "hashmap");
        config.setString("table.local-time-zone", "UTC");
        config.setString("taskmanager.memory.managed.size", "512m");
        config.setString("metrics.reporters", "counts");
        config.setString("metrics.reporter.counts.factory.class", ReporterFactory.class.getName());
        return config;
    }

    private static void measure(TableEnvironment tables, long events) throws Exception {
        tables.executeSql(SINK_TABLE);
        var job = tables.executeSql("INSERT INTO sink " + SUMS).getJobClient().orElseThrow();
        CompletableFuture<?> result = job.getJobExecutionResult();
        while (Reporter.recordsOut("Source:") < events / 10 && !result.isDone()) {
            Thread.sleep(5);
        }
        Measurement measurement = Measurement.start(Reporter.recordsOut("Source:"));
        result.get();
        long read = Reporter.recordsOut("Source:");
        if (read != events) {
            System.err.println("read " + read + " of " + events + " events");
            System.exit(1);
        }
        measurement.finish("flink", events, Reporter.recordsOut("GlobalWindowAggregate"));
    }

    private static void writeResults(TableEnvironment tables, String file) throws Exception {
        try (PrintWriter results = new PrintWriter(file);
                CloseableIterator<Row> rows = tables.executeSql(SUMS).collect()) {
            while (rows.hasNext()) {
                Row row = rows.next();
                LocalDateTime start = row.getFieldAs("window_start");
                long startMillis = start.toInstant(ZoneOffset.UTC).toEpochMilli();
                results.println(
                    row.getField("entity_id") + "\t" + startMillis + "\t" + row.getField("total"));
            }
        }
    }

    /** Flink finds it through META-INF/services. */
    public static final class ReporterFactory implements MetricReporterFactory {
        @Override
        public MetricReporter createMetricReporter(Properties properties) {
            return new Reporter();
        }
    }

    /** Flink counts records anyway; reading its counters costs the measured job nothing. */
    public static final class Reporter implements MetricReporter {
        private static final Map<String, Counter> RECORDS_OUT = new ConcurrentHashMap<>();

        /** Records given out by the operator whose name starts so; -1 as long as there is none. */
        static long recordsOut(String operator) {
            return RECORDS_OUT.entrySet().stream()
                .filter(entry -> entry.getKey().startsWith(operator))
                .mapToLong(entry -> entry.getValue().getCount())
                .max()
                .orElse(-1);
        }

        @Override
        public void open(MetricConfig config) {}

        @Override
        public void close() {}

        @Override
        public void notifyOfAddedMetric(Metric metric, String name, MetricGroup group) {
            String operator = group.getAllVariables().get("<operator_name>");
            if (operator != null && name.equals("numRecordsOut")) {
                RECORDS_OUT.put(operator, (Counter) metric);
            }
        }

        @Override
        public void notifyOfRemovedMetric(Metric metric, String name, MetricGroup group) {}
    }
}
