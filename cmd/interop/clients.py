"""Drives a server through confluent-kafka (librdkafka): create, produce with each codec, consume in groups, resume.

Usage: clients.py HOST:PORT. Exits non-zero with a message at the first thing that is wrong.
"""

import sys

from confluent_kafka import Consumer, Producer, TopicPartition, KafkaException
from confluent_kafka.admin import AdminClient, ConfigResource, NewTopic

TOPIC, PARTITIONS, EACH = "confluent", 3, 400
CODECS = ["none", "gzip", "snappy", "lz4", "zstd"]


def check(condition, message):
    if not condition:
        sys.exit(message)


def create(admin):
    topic = NewTopic(TOPIC, num_partitions=PARTITIONS, replication_factor=1, config={"retention.ms": "86400000"})
    admin.create_topics([topic])[TOPIC].result(30)
    found = admin.list_topics(TOPIC, timeout=30).topics[TOPIC]
    check(len(found.partitions) == PARTITIONS, f"{len(found.partitions)} partitions")
    resource = ConfigResource(ConfigResource.Type.TOPIC, TOPIC)
    config = admin.describe_configs([resource])[resource].result(30)
    check(config["retention.ms"].value == "86400000", f"retention.ms is {config['retention.ms'].value}")
    try:
        admin.create_topics([NewTopic(TOPIC, 1, 1)])[TOPIC].result(30)
        sys.exit("the topic could be created twice")
    except KafkaException as e:
        check(e.args[0].name() == "TOPIC_ALREADY_EXISTS", f"created twice: {e}")


def produce(address):
    """Returns {(partition, offset): value} of what was acknowledged."""
    acked = {}

    def delivered(err, msg):
        check(err is None, f"not delivered: {err}")
        place = (msg.partition(), msg.offset())
        check(place not in acked, f"two records at {place}")
        acked[place] = msg.value()

    for codec in CODECS:
        producer = Producer(
            {"bootstrap.servers": address, "compression.type": codec, "enable.idempotence": True, "linger.ms": 5}
        )
        for i in range(EACH):
            value = f"{codec} {i} ".encode() + b"x" * 200
            producer.produce(TOPIC, value, key=str(i), headers={"codec": codec}, on_delivery=delivered)
        check(producer.flush(60) == 0, f"{codec}: not everything was delivered")
    check(len(acked) == EACH * len(CODECS), f"{len(acked)} records acknowledged")
    return acked


def consume(address, group, count, seen, acked):
    """Reads count records in the group, each exactly once and in order, commits them and leaves."""
    consumer = Consumer(
        {
            "bootstrap.servers": address,
            "group.id": group,
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
        }
    )
    consumer.subscribe([TOPIC])
    following, read = {}, 0
    while read < count:
        msg = consumer.poll(60)
        check(msg is not None, f"{group}: nothing came after {read} of {count} records")
        check(msg.error() is None, f"{group}: {msg.error()}")
        place = (msg.partition(), msg.offset())
        check(place not in seen, f"{group}: {place} was read twice")
        check(msg.offset() >= following.get(msg.partition(), 0), f"{group}: {place} is out of order")
        check(acked[place] == msg.value(), f"{group}: another value at {place}")
        check(dict(msg.headers())["codec"] == msg.value().split()[0], f"{group}: another header at {place}")
        following[msg.partition()] = msg.offset() + 1
        seen.add(place)
        read += 1
    consumer.commit(offsets=[TopicPartition(TOPIC, p, o) for p, o in following.items()], asynchronous=False)
    consumer.close()


def main():
    address = sys.argv[1]
    admin = AdminClient({"bootstrap.servers": address})
    create(admin)
    acked = produce(address)
    for group in ("confluent-one", "confluent-two"):
        seen = set()
        consume(address, group, len(acked) // 3, seen, acked)
        consume(address, group, len(acked) - len(seen), seen, acked)
        check(seen == acked.keys(), f"{group}: {len(acked.keys() - seen)} records are missing")
    latest = Consumer({"bootstrap.servers": address, "group.id": "unused"})
    ends = [latest.get_watermark_offsets(TopicPartition(TOPIC, p), timeout=30)[1] for p in range(PARTITIONS)]
    check(sum(ends) == len(acked), f"the partitions end at {ends}")
    latest.close()
    groups = {g.group_id for g in admin.list_consumer_groups().result(30).valid}
    check({"confluent-one", "confluent-two"} <= groups, f"groups: {groups}")
    admin.delete_topics([TOPIC])[TOPIC].result(30)
    print(f"all {len(CODECS)} codecs, 2 groups: good")


main()
