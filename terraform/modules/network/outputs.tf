output "vpc_id" {
  description = "The VPC."
  value       = aws_vpc.this.id
}

output "cidr" {
  description = "Addresses of the VPC."
  value       = aws_vpc.this.cidr_block
}

output "subnets" {
  # With their ways out, so that nothing is started here before these are there, and they go only when nothing runs here any more.
  depends_on = [
    aws_route_table_association.zone, aws_vpc_endpoint.s3, aws_vpc_endpoint.interface, aws_vpc_security_group_ingress_rule.endpoints,
  ]
  description = "The private subnet of each zone, by zone, as module agents takes them."
  value       = { for zone, s in aws_subnet.zone : zone => s.id }
}

output "route_table_id" {
  description = "The one route table of the subnets, for those who add a way to other networks."
  value       = aws_route_table.private.id
}

output "s3_endpoint_id" {
  description = "The gateway endpoint of S3."
  value       = aws_vpc_endpoint.s3.id
}
