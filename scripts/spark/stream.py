"""A streaming query as users have it: reads topics of Kafka, writes a checkpoint, and says what it does.

usage: stream.py --servers HOST:PORT --topics NAME[,NAME] [--topics ...] --checkpoint URI [--trigger "processingTime=1 second"|availableNow]
           [--output noop|foreachBatch] [--fail-at-batch N] [--query-name NAME] [--option KEY=VALUE]...

Each --topics is a source of its own; --option goes to all of them. PYTHONPATH and Spark's settings come from outside.

Prints JSON objects, one a line, with one key each: "ui" (address and application), "started" (query and run), "batch"
(number, rows, sources with their offsets) when a batch has been committed, "held" (number), and last "failed" (why) or "ended".
Reads lines: "hold" lets each following batch wait before its end (foreachBatch only), "release" lets them go, "stop"
ends the query as soon as no batch is under way. So does the end of the input.
"""
import argparse
import functools
import json
import sys
import threading

from pyspark.sql import SparkSession
from pyspark.sql.streaming import StreamingQueryListener

LONGEST_REASON = 2_000


def say(name, content):
    print(json.dumps({name: content}), flush=True)


class Progress(StreamingQueryListener):
    """Says what was committed: Spark posts its progress when the commit log has the batch."""

    def onQueryStarted(self, event):
        say("started", {"query": str(event.id), "run": str(event.runId)})

    def onQueryProgress(self, event):
        progress = json.loads(event.progress.json)
        sources = [{"description": source["description"], "start": source["startOffset"], "end": source["endOffset"]} for source in progress["sources"]]
        # One without rows is no batch: nothing is planned and nothing committed.
        if progress["numInputRows"] > 0:
            say("batch", {"number": progress["batchId"], "rows": progress["numInputRows"], "sources": sources})

    def onQueryIdle(self, event):
        pass

    def onQueryTerminated(self, event):
        pass


class Sink:
    """A sink for foreachBatch that can be told to fail and to wait."""

    def __init__(self, fail_at):
        self.fail_at = fail_at
        self.free = threading.Event()
        self.free.set()

    def write(self, rows, number):
        rows.count()
        if number == self.fail_at:
            raise RuntimeError(f"batch {number} shall fail")
        if not self.free.is_set():
            say("held", number)
            self.free.wait()


def arguments():
    parser = argparse.ArgumentParser()
    parser.add_argument("--servers", required=True)
    parser.add_argument("--topics", required=True, action="append")
    parser.add_argument("--checkpoint", required=True)
    parser.add_argument("--trigger", default="processingTime=1 second")
    parser.add_argument("--output", default="noop", choices=["noop", "foreachBatch"])
    parser.add_argument("--fail-at-batch", type=int, default=-1)
    parser.add_argument("--query-name")
    parser.add_argument("--option", default=[], action="append")
    return parser.parse_args()


def source(spark, servers, topics, options):
    reader = spark.readStream.format("kafka").option("kafka.bootstrap.servers", servers).option("subscribe", topics)
    for option in options:
        reader = reader.option(*option.split("=", 1))
    return reader.load()


def query(spark, wanted, sink):
    sources = [source(spark, wanted.servers, topics, wanted.option) for topics in wanted.topics]
    writer = functools.reduce(lambda left, right: left.unionByName(right), sources).writeStream.option("checkpointLocation", wanted.checkpoint)
    kind, _, interval = wanted.trigger.partition("=")
    writer = writer.trigger(**{kind: interval or True})
    if wanted.query_name:
        writer = writer.queryName(wanted.query_name)
    return (writer.format("noop") if wanted.output == "noop" else writer.foreachBatch(sink.write)).start()


def obey(spark, sink):
    """Does what the lines of the input say."""
    for line in map(str.strip, sys.stdin):
        if line == "hold":
            sink.free.clear()
        elif line == "release":
            sink.free.set()
        elif line == "stop":
            break
    sink.free.set()
    for running in spark.streams.active:
        while running.isActive and running.status["isTriggerActive"]:
            threading.Event().wait(0.02)
        running.stop()


def main():
    wanted = arguments()
    spark = SparkSession.builder.getOrCreate()
    say("ui", {"address": spark.sparkContext.uiWebUrl, "application": spark.sparkContext.applicationId})
    spark.streams.addListener(Progress())
    sink = Sink(wanted.fail_at_batch)
    # Before the query, so that a "hold" that is there already holds its first batch.
    threading.Thread(target=obey, args=[spark, sink], daemon=True).start()
    running = query(spark, wanted, sink)
    name, content = "ended", {}
    try:
        running.awaitTermination()
    except Exception as failure:
        name, content = "failed", str(failure)[:LONGEST_REASON]
    # Waits until all batches have been said.
    spark.stop()
    say(name, content)
    return 1 if name == "failed" else 0


if __name__ == "__main__":
    sys.exit(main())
