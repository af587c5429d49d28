import com.sun.management.OperatingSystemMXBean;
import java.lang.management.ManagementFactory;
import java.util.Locale;

/** CPU seconds of this process and wall seconds, from {@link #start} to {@link #finish}. */
final class Measurement {
    private static final OperatingSystemMXBean SYSTEM =
        (OperatingSystemMXBean) ManagementFactory.getOperatingSystemMXBean();

    private final long eventsBefore;
    private final long cpuBefore = SYSTEM.getProcessCpuTime();
    private final long wallBefore = System.nanoTime();

    private Measurement(long eventsBefore) {
        this.eventsBefore = eventsBefore;
    }

    /** Starts after {@code eventsBefore} events, which have loaded and compiled the classes. */
    static Measurement start(long eventsBefore) {
        return new Measurement(eventsBefore);
    }

    /** Prints the result, {@code events} counting from the first. */
    void finish(String peer, long events, long rows) {
        double cpu = (SYSTEM.getProcessCpuTime() - cpuBefore) / 1e9;
        double wall = (System.nanoTime() - wallBefore) / 1e9;
        long measured = events - eventsBefore;
        System.out.printf(
            Locale.ROOT,
            "%s events=%d wall_s=%.2f cpu_s=%.2f events_per_s=%.0f events_per_cpu_s=%.0f result_rows=%d%n",
            peer, measured, wall, cpu, measured / wall, measured / cpu, rows);
    }
}
