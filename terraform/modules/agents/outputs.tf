output "bootstrap" {
  description = "What clients take for bootstrap.servers. They are told of no other address."
  value       = local.bootstrap
}

output "load_balancer" {
  description = "The balancer: ARN, DNS name, and the hosted zone that an alias record of yours needs."
  value = {
    arn      = aws_lb.this.arn
    dns_name = aws_lb.this.dns_name
    zone_id  = aws_lb.this.zone_id
  }
}

output "security_group_ids" {
  description = "Security groups of the balancer and of the agents."
  value = {
    balancer = aws_security_group.balancer.id
    agents   = aws_security_group.agents.id
  }
}

output "cluster_name" {
  description = "The ECS cluster."
  value       = aws_ecs_cluster.this.name
}

output "service_names" {
  description = "The ECS service of each zone."
  value       = { for zone, s in aws_ecs_service.zone : zone => s.name }
}

output "role" {
  description = "The agents' role."
  value = {
    arn  = aws_iam_role.agent.arn
    name = aws_iam_role.agent.name
  }
}

output "log_group" {
  description = "Where agents log."
  value       = aws_cloudwatch_log_group.this.name
}

output "metrics" {
  description = "With metrics_domain: the names and the port that Prometheus asks for, and the hosted zone, which may be associated with other VPCs. Null without."
  value = var.metrics_domain == null ? null : {
    names   = [for zone in sort(keys(var.subnets)) : "${zone}.${var.metrics_domain}"]
    port    = local.http_port
    zone_id = aws_service_discovery_private_dns_namespace.metrics[0].hosted_zone
  }
}

output "store" {
  description = "The agents' --store, for `leat doctor` and `leat inspect` by whoever may read the bucket."
  value       = local.store
}
