import java.io.BufferedReader;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.serialization.StringSerializer;

/** {@code LoadTopic BROKER TOPIC FILE}: a topic of one partition, a record for each line, keyed by entity. */
final class LoadTopic {
    private static final String BEFORE_ENTITY = "\"entity_id\":\"";

    public static void main(String[] args) throws Exception {
        String broker = args[0];
        String topic = args[1];
        try (Admin admin = Admin.create(Map.of("bootstrap.servers", broker))) {
            admin.createTopics(List.of(new NewTopic(topic, 1, (short) 1))).all().get();
        }
        Map<String, Object> config =
            Map.of("bootstrap.servers", broker, "linger.ms", 20, "batch.size", 256 * 1024);
        try (var producer = new KafkaProducer<>(config, new StringSerializer(), new StringSerializer());
                BufferedReader lines = Files.newBufferedReader(Path.of(args[2]))) {
            for (String line; (line = lines.readLine()) != null; ) {
                producer.send(new ProducerRecord<>(topic, entity(line), line));
            }
        }
    }

    private static String entity(String event) {
        int start = event.indexOf(BEFORE_ENTITY) + BEFORE_ENTITY.length();
        return event.substring(start, event.indexOf('"', start));
    }
}
