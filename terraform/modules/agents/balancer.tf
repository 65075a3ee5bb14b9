# One address for clients, a TCP balancer within the VPC.
resource "aws_lb" "this" {
  #checkov:skip=CKV_AWS_91: access logs of a network load balancer exist for TLS listeners only, and this one has none
  #checkov:skip=CKV_AWS_152: cross-zone is off on purpose: bytes that cross zones are paid for, and each zone has agents of its own
  #checkov:skip=CKV_AWS_150: deletion protection is on unless the caller says no; this check does not see through the variable
  name               = var.name
  load_balancer_type = "network"
  internal           = true
  security_groups    = [aws_security_group.balancer.id]

  dynamic "subnet_mapping" {
    for_each = var.subnets
    content {
      subnet_id = subnet_mapping.value
    }
  }

  enable_cross_zone_load_balancing = false
  dns_record_client_routing_policy = var.client_routing
  enable_deletion_protection       = var.deletion_protection
  tags                             = var.tags
}

resource "aws_lb_target_group" "this" {
  name        = var.name
  vpc_id      = var.vpc_id
  target_type = "ip"
  protocol    = "TCP"
  port        = local.kafka_port

  # Either way an agent knows its clients' addresses. Headers stand before the balancer's health checks too, so the agents' port for
  # health is told of them (task.tf).
  preserve_client_ip = !var.proxy_protocol
  proxy_protocol_v2  = var.proxy_protocol

  health_check {
    protocol            = "HTTP"
    port                = tostring(local.http_port)
    path                = "/readyz"
    matcher             = "200"
    interval            = 5
    timeout             = 4
    healthy_threshold   = 2
    unhealthy_threshold = 2
  }

  # Taking an agent away: ECS takes it out of this group, so that nobody new comes; waits for the delay; sends SIGTERM. Then the
  # agent ends its connections itself, each between two requests, and needs less than 10 s in all. So the balancer must not
  # cut connections when the delay ends.
  deregistration_delay   = var.deregistration_delay
  connection_termination = false

  # An agent that does not answer any more is another matter: its clients should not wait for it.
  target_health_state {
    enable_unhealthy_connection_termination = true
  }

  tags = var.tags
}

resource "aws_lb_listener" "kafka" {
  load_balancer_arn = aws_lb.this.arn
  protocol          = "TCP"
  port              = local.kafka_port
  # Longer than agents (10 minutes) and Kafka's clients (9) keep an idle connection. Those say that they end it; the balancer does not.
  tcp_idle_timeout_seconds = 900

  default_action {
    type             = "forward"
    target_group_arn = aws_lb_target_group.this.arn
  }
  tags = var.tags
}
