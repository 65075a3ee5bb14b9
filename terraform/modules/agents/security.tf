# clients ─9092─► balancer ─9092, 9644─► agents ─9600─► agents
#                                        agents ─443──► S3, and what https_egress_cidrs names

resource "aws_security_group" "balancer" {
  name        = "${var.name}-balancer"
  description = "Kafka clients of stated ranges to the balancer of ${var.name}"
  vpc_id      = var.vpc_id
  tags        = merge(var.tags, { Name = "${var.name}-balancer" })
}

resource "aws_vpc_security_group_ingress_rule" "clients" {
  for_each          = var.client_cidrs
  security_group_id = aws_security_group.balancer.id
  description       = "Kafka clients"
  cidr_ipv4         = each.key
  ip_protocol       = "tcp"
  from_port         = local.kafka_port
  to_port           = local.kafka_port
}

resource "aws_vpc_security_group_egress_rule" "balancer" {
  for_each                     = { clients = local.kafka_port, health = local.http_port }
  security_group_id            = aws_security_group.balancer.id
  description                  = "To agents: ${each.key}"
  referenced_security_group_id = aws_security_group.agents.id
  ip_protocol                  = "tcp"
  from_port                    = each.value
  to_port                      = each.value
}

resource "aws_security_group" "agents" {
  name        = "${var.name}-agents"
  description = "The balancer to agents of ${var.name}, and agents to each other"
  vpc_id      = var.vpc_id
  tags        = merge(var.tags, { Name = "${var.name}-agents" })
}

resource "aws_vpc_security_group_ingress_rule" "balancer" {
  for_each                     = { clients = local.kafka_port, health = local.http_port }
  security_group_id            = aws_security_group.agents.id
  description                  = "From the balancer: ${each.key}"
  referenced_security_group_id = aws_security_group.balancer.id
  ip_protocol                  = "tcp"
  from_port                    = each.value
  to_port                      = each.value
}

resource "aws_vpc_security_group_ingress_rule" "metrics" {
  for_each          = var.metrics_cidrs
  security_group_id = aws_security_group.agents.id
  description       = "Prometheus"
  cidr_ipv4         = each.key
  ip_protocol       = "tcp"
  from_port         = local.http_port
  to_port           = local.http_port
}

resource "aws_vpc_security_group_ingress_rule" "peers" {
  security_group_id            = aws_security_group.agents.id
  description                  = "Agents to each other"
  referenced_security_group_id = aws_security_group.agents.id
  ip_protocol                  = "tcp"
  from_port                    = local.peer_port
  to_port                      = local.peer_port
}

resource "aws_vpc_security_group_egress_rule" "peers" {
  security_group_id            = aws_security_group.agents.id
  description                  = "Agents to each other"
  referenced_security_group_id = aws_security_group.agents.id
  ip_protocol                  = "tcp"
  from_port                    = local.peer_port
  to_port                      = local.peer_port
}

data "aws_prefix_list" "s3" {
  name = "com.amazonaws.${local.region}.s3"
}

resource "aws_vpc_security_group_egress_rule" "s3" {
  security_group_id = aws_security_group.agents.id
  description       = "S3"
  prefix_list_id    = data.aws_prefix_list.s3.id
  ip_protocol       = "tcp"
  from_port         = 443
  to_port           = 443
}

resource "aws_vpc_security_group_egress_rule" "https" {
  for_each          = var.https_egress_cidrs
  security_group_id = aws_security_group.agents.id
  description       = "Image registry and CloudWatch Logs" # EC2 takes no apostrophe here
  cidr_ipv4         = each.key
  ip_protocol       = "tcp"
  from_port         = 443
  to_port           = 443
}
