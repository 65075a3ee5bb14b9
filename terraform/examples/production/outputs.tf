output "bootstrap" {
  description = "bootstrap.servers for Kafka clients."
  value       = module.agents.bootstrap
}

output "metrics" {
  description = "Names and port for Prometheus' dns_sd_configs, and the hosted zone of the names. Null without metrics_cidrs."
  value       = module.agents.metrics
}

output "route_table_id" {
  description = "Where routes to the clients' networks belong (peering, transit gateway)."
  value       = module.network.route_table_id
}

output "load_balancer" {
  description = "For an alias record with a name of your own."
  value       = module.agents.load_balancer
}
