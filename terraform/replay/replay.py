"""Makes the calls that the production example stands for, against moto, reads back what they made, and compares.

    replay.py FILE LEAT     FILE: what `terraform test -verbose -json` printed of examples/production/tests/replay.tftest.hcl
                            LEAT: the binary, which is asked whether it takes what the tasks tell it

Terraform's mocks give every id, ARN and name that AWS would make up a random word, and put the words wherever one resource refers
to another. Here each resource is made in the order of ORDER; its words are then replaced by what moto answered, in all that follow.
So a reference that leads nowhere, or to the wrong thing, is refused by moto or found when it is read back. It must never speak to
anything but moto.
"""

import json
import sys

import api
import image
import network
import service
import storage

# Every type of the example, in the order in which one can be made. A type that is missing here fails the run.
ORDER = {
    "aws_kms_key": storage.kms_key,
    "aws_kms_alias": storage.kms_alias,
    "aws_s3_bucket": storage.bucket,
    "aws_s3_bucket_public_access_block": storage.public_access_block,
    "aws_s3_bucket_ownership_controls": storage.ownership,
    "aws_s3_bucket_server_side_encryption_configuration": storage.encryption,
    "aws_s3_bucket_versioning": storage.versioning,
    "aws_s3_bucket_lifecycle_configuration": storage.lifecycle,
    "aws_s3_bucket_policy": storage.bucket_policy,
    "aws_vpc": network.vpc,
    "aws_default_security_group": network.default_security_group,
    "aws_subnet": network.subnet,
    "aws_route_table": network.route_table,
    "aws_route_table_association": network.route_table_association,
    "aws_security_group": network.security_group,
    "aws_vpc_security_group_ingress_rule": network.ingress,
    "aws_vpc_security_group_egress_rule": network.egress,
    "aws_vpc_endpoint": network.endpoint,
    "aws_cloudwatch_log_group": service.log_group,
    "aws_iam_role": service.role,
    "aws_iam_role_policy": service.role_policy,
    "aws_flow_log": network.flow_log,
    "aws_lb": service.load_balancer,
    "aws_lb_target_group": service.target_group,
    "aws_lb_listener": service.listener,
    "aws_service_discovery_private_dns_namespace": service.namespace,
    "aws_service_discovery_service": service.discovery,
    "aws_ecs_cluster": service.cluster,
    "aws_ecs_task_definition": service.task_definition,
    "aws_ecs_service": service.service,
    "aws_appautoscaling_target": service.scaling_target,
    "aws_appautoscaling_policy": service.scaling_policy,
}


class World:
    """What has been made so far. words: of the mocks, with what they stand for."""

    def __init__(self, client):
        self._client = client
        self._clients = {}
        self.words = {}

    def __getattr__(self, name):
        """world.s3 is the client of S3; _ stands for -."""
        if name not in self._clients:
            self._clients[name] = self._client(name.replace("_", "-"))
        return self._clients[name]

    def stands(self, values, **real):
        """Notes what the mock's words for attributes really are: stands(values, id="vpc-1")."""
        for attribute, value in real.items():
            self.words[values[attribute]] = value

    def real(self, value):
        """value with each word replaced."""
        if isinstance(value, str):
            for word, real in self.words.items():
                value = value.replace(word, real)
            return value
        if isinstance(value, list):
            return [self.real(v) for v in value]
        if isinstance(value, dict):
            return {k: self.real(v) for k, v in value.items()}
        return value


def resources(path):
    """All resources and data sources in the state that the test printed."""
    with open(path, encoding="utf-8") as f:
        messages = [json.loads(line) for line in f]
    states = [m["test_state"] for m in messages if m["type"] == "test_state"]
    if len(states) != 1:
        raise SystemExit(f"{path} holds {len(states)} states, want one")

    def walk(module):
        yield from module.get("resources", [])
        for child in module.get("child_modules", []):
            yield from walk(child)

    return list(walk(states[0]["root_module"]))


def main():
    everything = resources(sys.argv[1])
    managed = [r for r in everything if r["mode"] == "managed"]
    strange = {r["type"] for r in managed} - ORDER.keys()
    if strange:
        raise SystemExit(f"nothing here replays {', '.join(sorted(strange))}")
    missing = ORDER.keys() - {r["type"] for r in managed}
    if missing:
        raise SystemExit(f"the example has no {', '.join(sorted(missing))}")
    with api.server() as client:
        world = World(client)
        network.prefix_lists(world, [r for r in everything if r["type"] == "aws_prefix_list"])
        for kind, make in ORDER.items():
            for r in (r for r in managed if r["type"] == kind):
                try:
                    make(world, r["values"])
                except Exception as e:
                    raise SystemExit(f"{r['address']}: {type(e).__name__}: {e}") from e
        service.agents_may(world)
    tasks = [world.real(r["values"]["container_definitions"]) for r in managed if r["type"] == "aws_ecs_task_definition"]
    for task in tasks:
        [container] = json.loads(task)
        image.takes(container, sys.argv[2])
    print(f"  {len(managed)} resources of {len(ORDER)} types made and read back")


if __name__ == "__main__":
    main()
