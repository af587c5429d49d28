#!/usr/bin/env bash
# run.sh kafka-streams|flink [events]: checks and measures one peer; see README.md.
set -euo pipefail

fail() {
    echo "run.sh: $*" >&2
    exit 1
}

usage="usage: run.sh kafka-streams|flink [events]"
peer=${1:-}
case $peer in
    kafka-streams) default_events=2000000 ;;
    flink) default_events=8000000 ;;
    *) fail "$usage" ;;
esac
events=${2:-$default_events}
[[ $events =~ ^[1-9][0-9]*$ ]] || fail "$usage"

export CACHE_MB=${CACHE_MB:-2048}
export CHANGELOG=${CHANGELOG:-on}
[[ $CACHE_MB =~ ^[0-9]+$ ]] || fail "CACHE_MB is a number"
[[ $CHANGELOG =~ ^(on|off)$ ]] || fail "CHANGELOG is on or off"

# What it needs.
PATH=${JAVA_HOME:+$JAVA_HOME/bin:}$PATH
for tool in java javac mvn python3; do
    command -v "$tool" >/dev/null || fail "needs a JDK 17 or later, Maven and python3: no $tool found"
done
jdk=$(javac -version 2>&1 | sed -E 's/^javac ([0-9]+).*/\1/')
((jdk >= 17)) || fail "needs a JDK 17 or later, Maven and python3: javac is version $jdk"

# This shell and all it starts stay on one core.
if command -v taskset >/dev/null && (($(nproc --all) > 1)); then
    taskset -cp "${CPU:-1}" $$ >/dev/null 2>&1 || fail "no core ${CPU:-1} to run on"
fi

sources=$(cd "$(dirname "$0")" && pwd)
cd "$sources/../../.."
mkdir -p "${CARGO_TARGET_DIR:-target}/peers/windows/$peer"
build=$(cd "${CARGO_TARGET_DIR:-target}/peers/windows/$peer" && pwd)

work=$(mktemp -d -p "$build")
broker_pid=
command_pid=
clean_up() {
    # What they have written goes with them, so they need not shut down in order.
    for pid in $command_pid $broker_pid; do
        kill -KILL "$pid" 2>/dev/null || true
        wait "$pid" 2>/dev/null || true
    done
    rm -rf "$work"
}
trap clean_up EXIT

# Runs a command that should have nothing to say, and shows what it said if it fails.
quietly() {
    "$@" >"$work/log" 2>&1 &
    command_pid=$!
    wait "$command_pid" || {
        tail -n 20 "$work/log" >&2
        fail "$peer failed, see above"
    }
    command_pid=
}

# Jars are fetched again only when the list of them has changed.
if ! cmp -s "$sources/$peer/pom.xml" "$build/pom.xml"; then
    rm -rf "$build/lib"
    quietly mvn --batch-mode --file "$sources/$peer/pom.xml" dependency:copy-dependencies \
        -DincludeScope=runtime -DoutputDirectory="$build/lib"
    cp "$sources/$peer/pom.xml" "$build/pom.xml"
fi

rm -rf "$build/classes"
quietly javac -d "$build/classes" -cp "$build/lib/*" "$sources"/*.java "$sources/$peer"/*.java
cp "$sources/log4j2.properties" "$build/classes"
[[ $peer != flink ]] || cp -r "$sources/flink/META-INF" "$build/classes"

java=(java "-Djava.io.tmpdir=$work" -cp "$build/classes:$build/lib/*")
# The measured process has all its memory from the start, so that neither growth nor want of it is measured.
measured=("${java[@]}" -Xms6g -Xmx6g -Xmn3g -XX:+UseParallelGC -XX:+AlwaysPreTouch)

free_ports() {
    python3 - <<'PYTHON'
import socket
sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
print(*(s.getsockname()[1] for s in sockets))
PYTHON
}

# One node, broker and controller in one process, on loopback.
start_broker() {
    local port controller_port
    read -r port controller_port < <(free_ports)
    broker=127.0.0.1:$port
    cat >"$work/broker.properties" <<PROPERTIES
process.roles=broker,controller
node.id=1
listeners=PLAINTEXT://$broker,CONTROLLER://127.0.0.1:$controller_port
controller.listener.names=CONTROLLER
controller.quorum.voters=1@127.0.0.1:$controller_port
log.dirs=$work/broker
offsets.topic.replication.factor=1
offsets.topic.num.partitions=1
group.initial.rebalance.delay.ms=0
PROPERTIES
    quietly "${java[@]}" kafka.tools.StorageTool format \
        --cluster-id peers0000000000000000Q --config "$work/broker.properties"
    "${java[@]}" -Xms512m -Xmx512m -XX:+UseSerialGC kafka.Kafka "$work/broker.properties" \
        >"$work/broker.log" 2>&1 &
    broker_pid=$!
    for _ in {1..120}; do
        if (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then
            return
        fi
        kill -0 "$broker_pid" 2>/dev/null || break
        sleep 0.5
    done
    tail -n 20 "$work/broker.log" >&2
    fail "the broker did not start"
}

# Sums of a small input, to be compared with those calculated independently.
small_events=20000
small_entities=300
small=$work/small.ndjson
sums=$work/sums.tsv
quietly "${java[@]}" Events "$small" "$small_events" "$small_entities"

input=$work/events.ndjson
quietly "${java[@]}" Events "$input" "$events" 100000

case $peer in
    kafka-streams)
        start_broker
        quietly "${java[@]}" LoadTopic "$broker" small "$small"
        quietly "${java[@]}" KafkaStreams "$broker" small "$small_events" "$work/state" "$sums"
        python3 "$sources/verify.py" "$small" "$sums"

        quietly "${java[@]}" LoadTopic "$broker" events "$input"
        rm "$input"
        quietly "${measured[@]}" KafkaStreams "$broker" events "$events" "$work/state"
        ;;
    flink)
        quietly "${java[@]}" FlinkSql "$small" "$small_events" "$sums"
        python3 "$sources/verify.py" "$small" "$sums"

        quietly "${measured[@]}" FlinkSql "$input" "$events"
        ;;
esac
grep "^$peer " "$work/log"
