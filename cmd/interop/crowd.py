"""Produces or consumes through confluent-kafka (librdkafka) until standard input ends, and tells one event a line as JSON, as
Apache Kafka's verifiable tools do.

Usage: crowd.py produce|consume HOST:PORT,… TOPIC GROUP N; N is records a second, or members of the group.
"""

import json
import sys
import threading
import time

from confluent_kafka import Consumer, KafkaException, Producer

KEYS = 97  # without keys a producer stays with a partition for a while

stopped = threading.Event()
printing = threading.Lock()


def tell(name, **more):
    with printing:
        print(json.dumps({"name": name, **more}), flush=True)


def told_of_fatal(member):
    """librdkafka reports lost connections here too, as information; only a fatal error ends a client."""

    def report(error):
        if error.fatal():
            tell("error", member=member, message=str(error))

    return report


def produce(address, topic, rate):
    producer = Producer({"bootstrap.servers": address, "enable.idempotence": True, "error_cb": told_of_fatal("")})

    def delivered(error, record):
        value = record.value().decode()
        if error is not None:
            tell("producer_send_error", value=value, message=str(error))
        else:
            tell("producer_send_success", value=value, partition=record.partition(), offset=record.offset())

    began, sent = time.monotonic(), 0
    while not stopped.is_set():
        while sent < (time.monotonic() - began) * rate:
            try:
                producer.produce(topic, str(sent), key=str(sent % KEYS), on_delivery=delivered)
                sent += 1
            except BufferError:
                producer.poll(0.1)
        producer.poll(0.005)
    left = producer.flush(60)
    if left > 0:
        tell("error", message=f"{left} records were not delivered")


def consume(address, topic, group, member):
    consumer = Consumer(
        {
            "bootstrap.servers": address,
            "group.id": group,
            "auto.offset.reset": "earliest",
            "error_cb": told_of_fatal(member),
        }
    )

    def changed(name):
        def report(_, partitions):
            tell(name, member=member, partitions=[p.partition for p in partitions])

        return report

    revoked = changed("partitions_revoked")
    consumer.subscribe([topic], on_assign=changed("partitions_assigned"), on_revoke=revoked, on_lost=revoked)
    while not stopped.is_set():
        try:
            record = consumer.poll(0.1)
        except KafkaException as e:
            tell("error", member=member, message=str(e))
            continue
        if record is None:
            continue
        if record.error() is not None:
            tell("error", member=member, message=str(record.error()))
        else:
            tell("record_data", member=member, partition=record.partition(), offset=record.offset())
    consumer.close()


def main():
    role, address, topic, group, n = sys.argv[1:]
    if role == "produce":
        work = [threading.Thread(target=produce, args=(address, topic, int(n)))]
    else:
        work = [threading.Thread(target=consume, args=(address, topic, group, f" {i}")) for i in range(int(n))]
    for w in work:
        w.start()
    sys.stdin.read()
    stopped.set()
    for w in work:
        w.join()


main()
