output "bootstrap" {
  description = "bootstrap.servers for Kafka clients within the VPC."
  value       = module.agents.bootstrap
}
