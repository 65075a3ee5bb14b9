locals {
  partition = data.aws_partition.current.partition
  region    = data.aws_region.current.region
  account   = data.aws_caller_identity.current.account_id

  kafka_port = 9092 # clients
  peer_port  = 9600 # other agents
  http_port  = 9644 # health, metrics

  root       = var.bucket_prefix == "" ? var.cluster : "${var.bucket_prefix}/${var.cluster}"
  bucket_arn = "arn:${local.partition}:s3:::${var.bucket_name}"
  store      = "s3://${var.bucket_name}${var.bucket_prefix == "" ? "" : "/"}${var.bucket_prefix}?region=${local.region}"
  bootstrap  = "${coalesce(var.host_name, aws_lb.this.dns_name)}:${local.kafka_port}"
  log_group  = "/leat/${var.name}"
}

data "aws_partition" "current" {}
data "aws_region" "current" {}
data "aws_caller_identity" "current" {}

resource "aws_ecs_cluster" "this" {
  #checkov:skip=CKV_AWS_65: Container Insights cost by the metric and nothing here needs them; container_insights turns them on
  name = var.name
  setting {
    name  = "containerInsights"
    value = var.container_insights ? "enabled" : "disabled"
  }
  tags = var.tags
}

resource "aws_cloudwatch_log_group" "this" {
  #checkov:skip=CKV_AWS_338: how long is the caller's choice
  name              = local.log_group
  retention_in_days = var.log_days
  kms_key_id        = var.log_kms_key_arn
  tags              = var.tags
}

# A service for each zone, because an agent must be told its zone and one task definition tells the same to all its tasks.
# It is also what makes each zone grow by its own load: the balancer keeps traffic within a zone.
resource "aws_ecs_service" "zone" {
  for_each = var.subnets

  name             = "${var.name}-${each.key}"
  cluster          = aws_ecs_cluster.this.id
  task_definition  = aws_ecs_task_definition.zone[each.key].arn
  launch_type      = "FARGATE"
  platform_version = "LATEST"
  desired_count    = var.min_agents_per_zone

  # New agents are there before old ones go. None is ever missing.
  deployment_minimum_healthy_percent = 100
  deployment_maximum_percent         = 200
  deployment_circuit_breaker {
    enable   = true
    rollback = true
  }
  wait_for_steady_state = var.wait_for_steady_state

  network_configuration {
    subnets          = [each.value]
    security_groups  = [aws_security_group.agents.id]
    assign_public_ip = false
  }

  load_balancer {
    target_group_arn = aws_lb_target_group.this.arn
    container_name   = "leat"
    container_port   = local.kafka_port
  }
  dynamic "service_registries" {
    for_each = var.metrics_domain == null ? [] : [aws_service_discovery_service.metrics[each.key].arn]
    content {
      registry_arn = service_registries.value
    }
  }
  # An agent has to read the newest snapshot and the journal after it before it serves: seconds, but minutes if snapshots failed for
  # long, and one that is killed meanwhile begins anew, for ever. Three tasks that fail one after the other fit into Terraform's patience of 20 minutes.
  health_check_grace_period_seconds = 300

  enable_execute_command  = false
  enable_ecs_managed_tags = true
  propagate_tags          = "SERVICE"
  tags                    = var.tags

  lifecycle {
    ignore_changes = [desired_count] # the autoscaler's
  }

  # A target group takes no targets before a listener leads to it. And what agents need, they must have before the first of them starts and
  # until the last of them has stopped: rights, ways, and a log.
  depends_on = [
    aws_lb_listener.kafka, aws_iam_role_policy.agent, aws_iam_role_policy.execution, aws_cloudwatch_log_group.this,
    aws_vpc_security_group_ingress_rule.balancer, aws_vpc_security_group_egress_rule.balancer,
    aws_vpc_security_group_ingress_rule.peers, aws_vpc_security_group_egress_rule.peers,
    aws_vpc_security_group_egress_rule.s3, aws_vpc_security_group_egress_rule.https,
  ]
}
