# Names for Prometheus: ZONE.DOMAIN has an A record for each task of the zone's service. ECS registers its tasks here and takes them out,
# by its service-linked role. A name for each zone, because Route 53 answers with eight addresses of a name at most.
resource "aws_service_discovery_private_dns_namespace" "metrics" {
  count       = var.metrics_domain == null ? 0 : 1
  name        = var.metrics_domain
  description = "Agents of ${var.name}, for Prometheus"
  vpc         = var.vpc_id
  tags        = var.tags

  lifecycle {
    precondition {
      condition     = var.max_agents_per_zone <= 8
      error_message = "max_agents_per_zone must be at most 8 with metrics_domain: a name leads to eight addresses, and Prometheus would lose sight of the others."
    }
  }
}

# No health check: Prometheus must find just those agents, too, that are not well. ECS replaces them anyhow.
resource "aws_service_discovery_service" "metrics" {
  for_each    = var.metrics_domain == null ? {} : var.subnets
  name        = each.key
  description = "Agents of ${var.name} in ${each.key}"

  dns_config {
    namespace_id   = aws_service_discovery_private_dns_namespace.metrics[0].id
    routing_policy = "MULTIVALUE"
    dns_records {
      type = "A"
      ttl  = 15
    }
  }

  # ECS takes the last tasks out some time after its service has gone, and AWS refuses to delete a name that still leads somewhere.
  force_destroy = true
  tags          = var.tags
}
