"""Roles, the balancer, the service of each zone and its scaling."""

import json
import pathlib
import re

from storage import same

# What each call of Go's SDK for S3 must be allowed.
ACTIONS = {"GetObject": "s3:GetObject", "PutObject": "s3:PutObject", "DeleteObjects": "s3:DeleteObject", "ListObjectsV2": "s3:ListBucket"}


def log_group(w, v):
    w.logs.create_log_group(logGroupName=v["name"], kmsKeyId=w.real(v["kms_key_id"]))
    w.logs.put_retention_policy(logGroupName=v["name"], retentionInDays=v["retention_in_days"])
    got = next(g for g in w.logs.describe_log_groups(logGroupNamePrefix=v["name"])["logGroups"] if g["logGroupName"] == v["name"])
    same((got["retentionInDays"], got["kmsKeyId"]), (v["retention_in_days"], w.real(v["kms_key_id"])), "log group")
    w.stands(v, arn=got["arn"])


def role(w, v):
    made = w.iam.create_role(RoleName=v["name"], AssumeRolePolicyDocument=v["assume_role_policy"])["Role"]
    w.stands(v, arn=made["Arn"], id=made["RoleName"])
    same(w.iam.get_role(RoleName=v["name"])["Role"]["AssumeRolePolicyDocument"], json.loads(v["assume_role_policy"]), "trust")


def role_policy(w, v):
    name, policy = w.real(v["role"]), w.real(v["policy"])
    w.iam.put_role_policy(RoleName=name, PolicyName=v["name"], PolicyDocument=policy)
    got = w.iam.get_role_policy(RoleName=name, PolicyName=v["name"])["PolicyDocument"]
    same(got, json.loads(policy), "policy")


def agents_may(w):
    """What agents may do to the bucket is what the driver does, read from its source, and nothing else."""
    source = pathlib.Path(__file__).parents[2] / "objectstore/s3/s3.go"
    calls = set(re.findall(r"\.client\.(\w+)\(", source.read_text(encoding="utf-8")))
    same(calls, set(ACTIONS), "calls of objectstore/s3")
    [name] = [r["RoleName"] for r in w.iam.list_roles()["Roles"] if r["RoleName"].endswith("-agent")]
    policy = w.iam.get_role_policy(RoleName=name, PolicyName="bucket")["PolicyDocument"]
    allowed = set()
    for s in policy["Statement"]:
        same(s["Effect"], "Allow", "effect")
        allowed |= set([s["Action"]] if isinstance(s["Action"], str) else s["Action"])
    same({a for a in allowed if a.startswith("s3:")}, set(ACTIONS.values()), "rights to the bucket")
    same({a for a in allowed if not a.startswith("s3:")}, {"kms:Decrypt", "kms:GenerateDataKey"}, "rights to the key")


def load_balancer(w, v):
    made = w.elbv2.create_load_balancer(
        Name=v["name"], Type=v["load_balancer_type"], Scheme="internal" if v["internal"] else "internet-facing",
        SubnetMappings=[{"SubnetId": w.real(m["subnet_id"])} for m in v["subnet_mapping"]],
        SecurityGroups=w.real(v["security_groups"]))["LoadBalancers"][0]
    arn = made["LoadBalancerArn"]
    w.stands(v, arn=arn, id=arn, dns_name=made["DNSName"], arn_suffix=arn.split(":loadbalancer/")[1])
    want = {
        "load_balancing.cross_zone.enabled": str(v["enable_cross_zone_load_balancing"]).lower(),
        "dns_record.client_routing_policy": v["dns_record_client_routing_policy"],
        "deletion_protection.enabled": str(v["enable_deletion_protection"]).lower(),
    }
    w.elbv2.modify_load_balancer_attributes(LoadBalancerArn=arn, Attributes=_pairs(want))
    got = _unpair(w.elbv2.describe_load_balancer_attributes(LoadBalancerArn=arn)["Attributes"])
    same({k: got.get(k) for k in want}, want, "attributes")
    made = w.elbv2.describe_load_balancers(LoadBalancerArns=[arn])["LoadBalancers"][0]
    same((made["Type"], made["Scheme"], len(made["AvailabilityZones"])), ("network", "internal", 3), "balancer")


def target_group(w, v):
    check = v["health_check"][0]
    made = w.elbv2.create_target_group(
        Name=v["name"], Protocol=v["protocol"], Port=v["port"], VpcId=w.real(v["vpc_id"]), TargetType=v["target_type"],
        HealthCheckProtocol=check["protocol"], HealthCheckPort=check["port"], HealthCheckPath=check["path"],
        HealthCheckIntervalSeconds=check["interval"], HealthCheckTimeoutSeconds=check["timeout"],
        HealthyThresholdCount=check["healthy_threshold"], UnhealthyThresholdCount=check["unhealthy_threshold"],
        Matcher={"HttpCode": check["matcher"]})["TargetGroups"][0]
    arn = made["TargetGroupArn"]
    w.stands(v, arn=arn, id=arn, arn_suffix=arn.rsplit(":", 1)[1])
    unhealthy = v["target_health_state"][0]["enable_unhealthy_connection_termination"]
    want = {
        "deregistration_delay.timeout_seconds": str(v["deregistration_delay"]),
        "deregistration_delay.connection_termination.enabled": str(v["connection_termination"]).lower(),
        "preserve_client_ip.enabled": str(v["preserve_client_ip"]).lower(),
        "proxy_protocol_v2.enabled": str(v["proxy_protocol_v2"]).lower(),
        "target_health_state.unhealthy.connection_termination.enabled": str(unhealthy).lower(),
    }
    w.elbv2.modify_target_group_attributes(TargetGroupArn=arn, Attributes=_pairs(want))
    got = _unpair(w.elbv2.describe_target_group_attributes(TargetGroupArn=arn)["Attributes"])
    same({k: got.get(k) for k in want}, want, "attributes")
    got = w.elbv2.describe_target_groups(TargetGroupArns=[arn])["TargetGroups"][0]
    same((got["HealthCheckProtocol"], got["HealthCheckPort"], got["HealthCheckPath"]), ("HTTP", "9644", "/readyz"), "health check")


def listener(w, v):
    action = v["default_action"][0]
    balancer, group = w.real(v["load_balancer_arn"]), w.real(action["target_group_arn"])
    made = w.elbv2.create_listener(
        LoadBalancerArn=balancer, Protocol=v["protocol"], Port=v["port"],
        DefaultActions=[{"Type": action["type"], "TargetGroupArn": group}])["Listeners"][0]
    w.stands(v, arn=made["ListenerArn"], id=made["ListenerArn"])
    idle = {"tcp.idle_timeout.seconds": str(int(v["tcp_idle_timeout_seconds"]))}
    w.elbv2.modify_listener_attributes(ListenerArn=made["ListenerArn"], Attributes=_pairs(idle))
    got = _unpair(w.elbv2.describe_listener_attributes(ListenerArn=made["ListenerArn"])["Attributes"])
    same({k: got.get(k) for k in idle}, idle, "attributes")
    got = w.elbv2.describe_target_groups(TargetGroupArns=[group])["TargetGroups"][0]
    same(got["LoadBalancerArns"], [balancer], "balancers of the target group")


def _pairs(attributes):
    return [{"Key": k, "Value": v} for k, v in attributes.items()]


def _unpair(attributes):
    return {a["Key"]: a["Value"] for a in attributes}


def namespace(w, v):
    request = {"Name": v["name"], "Vpc": w.real(v["vpc"]), "Description": v["description"]}
    operation = w.servicediscovery.create_private_dns_namespace(**request)["OperationId"]
    made = w.servicediscovery.get_operation(OperationId=operation)["Operation"]["Targets"]["NAMESPACE"]
    got = w.servicediscovery.get_namespace(Id=made)["Namespace"]
    same((got["Name"], got["Type"], got["Description"]), (v["name"], "DNS_PRIVATE", v["description"]), "namespace")
    w.stands(v, id=made, arn=got["Arn"], hosted_zone=got["Properties"]["DnsProperties"]["HostedZoneId"])


def discovery(w, v):
    dns = v["dns_config"][0]
    records = [{"Type": r["type"], "TTL": int(r["ttl"])} for r in dns["dns_records"]]
    same((v["health_check_config"], v["health_check_custom_config"]), ([], []), "health checks, which would hide agents that are not well")
    made = w.servicediscovery.create_service(
        Name=v["name"], Description=v["description"],
        DnsConfig={"NamespaceId": w.real(dns["namespace_id"]), "RoutingPolicy": dns["routing_policy"], "DnsRecords": records})["Service"]
    w.stands(v, id=made["Id"], arn=made["Arn"])
    got = w.servicediscovery.get_service(Id=made["Id"])["Service"]["DnsConfig"]
    same((got["RoutingPolicy"], got["DnsRecords"]), ("MULTIVALUE", [{"Type": "A", "TTL": 15}]), "records")
    w.servicediscovery.get_namespace(Id=got["NamespaceId"])


def cluster(w, v):
    made = w.ecs.create_cluster(
        clusterName=v["name"], settings=[{"name": s["name"], "value": s["value"]} for s in v["setting"]])["cluster"]
    w.stands(v, arn=made["clusterArn"], id=made["clusterArn"])


def task_definition(w, v):
    container = json.loads(w.real(v["container_definitions"]))
    request = {
        "family": v["family"], "networkMode": v["network_mode"], "requiresCompatibilities": v["requires_compatibilities"],
        "cpu": v["cpu"], "memory": v["memory"], "taskRoleArn": w.real(v["task_role_arn"]),
        "executionRoleArn": w.real(v["execution_role_arn"]),
        "runtimePlatform": {
            "operatingSystemFamily": v["runtime_platform"][0]["operating_system_family"],
            "cpuArchitecture": v["runtime_platform"][0]["cpu_architecture"],
        },
        "volumes": [{"name": x["name"]} for x in v["volume"]],
        "ephemeralStorage": {"sizeInGiB": v["ephemeral_storage"][0]["size_in_gib"]},
        "containerDefinitions": container,
    }
    # The SDK itself refuses a container definition with a field that does not exist or is of the wrong kind.
    made = w.ecs.register_task_definition(**request)["taskDefinition"]
    w.stands(v, arn=made["taskDefinitionArn"])
    got = w.ecs.describe_task_definition(taskDefinition=made["taskDefinitionArn"])["taskDefinition"]
    for key in ("taskRoleArn", "executionRoleArn", "cpu", "memory", "networkMode", "volumes", "runtimePlatform"):
        same(got[key], request[key], key)
    got = got["containerDefinitions"][0]
    for key, want in container[0].items():
        same(got[key], want, key)
    balancer = w.elbv2.describe_load_balancers()["LoadBalancers"][0]["DNSName"]
    same([a for a in got["command"] if "advertise" in a], [f"--advertise=shared={balancer}:9092"], "what is advertised")
    w.logs.describe_log_streams(logGroupName=got["logConfiguration"]["options"]["awslogs-group"])


def service(w, v):
    place, target, breaker = v["network_configuration"][0], v["load_balancer"][0], v["deployment_circuit_breaker"][0]
    request = {
        "cluster": w.real(v["cluster"]), "serviceName": v["name"], "taskDefinition": w.real(v["task_definition"]),
        "desiredCount": v["desired_count"], "launchType": v["launch_type"], "platformVersion": v["platform_version"],
        "networkConfiguration": {"awsvpcConfiguration": {
            "subnets": w.real(place["subnets"]), "securityGroups": w.real(place["security_groups"]),
            "assignPublicIp": "ENABLED" if place["assign_public_ip"] else "DISABLED",
        }},
        "loadBalancers": [{
            "targetGroupArn": w.real(target["target_group_arn"]), "containerName": target["container_name"],
            "containerPort": target["container_port"],
        }],
        "serviceRegistries": [{"registryArn": w.real(r["registry_arn"])} for r in v["service_registries"]],
        "deploymentConfiguration": {
            "minimumHealthyPercent": v["deployment_minimum_healthy_percent"], "maximumPercent": v["deployment_maximum_percent"],
            "deploymentCircuitBreaker": {"enable": breaker["enable"], "rollback": breaker["rollback"]},
        },
        "healthCheckGracePeriodSeconds": v["health_check_grace_period_seconds"],
        "propagateTags": v["propagate_tags"], "enableECSManagedTags": v["enable_ecs_managed_tags"],
        "enableExecuteCommand": v["enable_execute_command"],
    }
    w.ecs.create_service(**request)
    got = w.ecs.describe_services(cluster=request["cluster"], services=[v["name"]])["services"][0]
    same(got["taskDefinition"], request["taskDefinition"], "task definition")
    same(got["desiredCount"], v["desired_count"], "agents")
    same(got["loadBalancers"], request["loadBalancers"], "target group")
    [registry] = got["serviceRegistries"]
    w.elbv2.describe_target_groups(TargetGroupArns=[request["loadBalancers"][0]["targetGroupArn"]])
    [subnet] = request["networkConfiguration"]["awsvpcConfiguration"]["subnets"]
    zone = w.ec2.describe_subnets(SubnetIds=[subnet])["Subnets"][0]["AvailabilityZone"]
    task = w.ecs.describe_task_definition(taskDefinition=request["taskDefinition"])["taskDefinition"]
    if f"--zone={zone}" not in task["containerDefinitions"][0]["command"]:
        raise AssertionError(f"agents in {zone} are told another zone")
    registered = w.servicediscovery.get_service(Id=registry["registryArn"].rsplit("/", 1)[1])["Service"]
    same(registered["Name"], zone, "zone in which Prometheus looks for these agents")


def scaling_target(w, v):
    key = {"ServiceNamespace": v["service_namespace"], "ResourceId": v["resource_id"], "ScalableDimension": v["scalable_dimension"]}
    w.application_autoscaling.register_scalable_target(**key, MinCapacity=v["min_capacity"], MaxCapacity=v["max_capacity"])
    got = w.application_autoscaling.describe_scalable_targets(
        ServiceNamespace=v["service_namespace"], ResourceIds=[v["resource_id"]])["ScalableTargets"][0]
    same((got["MinCapacity"], got["MaxCapacity"]), (v["min_capacity"], v["max_capacity"]), "capacity")


def scaling_policy(w, v):
    c = v["target_tracking_scaling_policy_configuration"][0]
    tracking = {"TargetValue": c["target_value"], "ScaleInCooldown": c["scale_in_cooldown"], "ScaleOutCooldown": c["scale_out_cooldown"]}
    if c["predefined_metric_specification"]:
        tracking["PredefinedMetricSpecification"] = {
            "PredefinedMetricType": c["predefined_metric_specification"][0]["predefined_metric_type"]}
    else:
        tracking["CustomizedMetricSpecification"] = {"Metrics": [_metric(w, m) for m in c["customized_metric_specification"][0]["metrics"]]}
    w.application_autoscaling.put_scaling_policy(
        PolicyName=v["name"], ServiceNamespace=v["service_namespace"], ResourceId=v["resource_id"],
        ScalableDimension=v["scalable_dimension"], PolicyType=v["policy_type"], TargetTrackingScalingPolicyConfiguration=tracking)
    all_of_it = w.application_autoscaling.describe_scaling_policies(ServiceNamespace=v["service_namespace"], ResourceId=v["resource_id"])
    [got] = [p for p in all_of_it["ScalingPolicies"] if p["PolicyName"] == v["name"]]
    same(got["TargetTrackingScalingPolicyConfiguration"], tracking, "target tracking")


def _metric(w, m):
    """A metric that is read, or one computed of those."""
    if not m["metric_stat"]:
        return {"Id": m["id"], "Label": m["label"], "Expression": m["expression"], "ReturnData": m["return_data"]}
    stat = m["metric_stat"][0]
    dimensions = [{"Name": d["name"], "Value": w.real(d["value"])} for d in stat["metric"][0]["dimensions"]]
    balancer = w.elbv2.describe_load_balancers()["LoadBalancers"][0]["LoadBalancerArn"]
    same([d["Value"] for d in dimensions if d["Name"] == "LoadBalancer"], [balancer.split(":loadbalancer/")[1]], "balancer")
    return {
        "Id": m["id"], "ReturnData": m["return_data"],
        "MetricStat": {"Stat": stat["stat"], "Metric": {
            "Namespace": stat["metric"][0]["namespace"], "MetricName": stat["metric"][0]["metric_name"], "Dimensions": dimensions,
        }},
    }
