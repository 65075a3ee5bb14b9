mock_provider "aws" {
  mock_data "aws_partition" { defaults = { partition = "aws" } }
  mock_data "aws_region" { defaults = { region = "eu-central-1" } }
  mock_data "aws_caller_identity" { defaults = { account_id = "123456789012" } }
  mock_resource "aws_lb" { defaults = { dns_name = "leat-0.elb.eu-central-1.amazonaws.com" } }
}

variables {
  name               = "leat"
  image              = "123456789012.dkr.ecr.eu-central-1.amazonaws.com/leat:1.0"
  vpc_id             = "vpc-1"
  subnets            = { eu-central-1a = "subnet-a", eu-central-1b = "subnet-b", eu-central-1c = "subnet-c" }
  client_cidrs       = ["10.0.0.0/12", "192.168.7.0/24"]
  https_egress_cidrs = ["10.60.0.0/20"]
  bucket_name        = "example-leat"
  bucket_prefix      = "team"
  cluster            = "c1"
}

run "a_service_in_each_zone" {
  command = apply

  assert {
    condition = { for zone, s in aws_ecs_service.zone : zone => [s.name, one(s.network_configuration[0].subnets)] } == {
      eu-central-1a = ["leat-eu-central-1a", "subnet-a"]
      eu-central-1b = ["leat-eu-central-1b", "subnet-b"]
      eu-central-1c = ["leat-eu-central-1c", "subnet-c"]
    }
    error_message = "not one service for each zone, in its subnet"
  }
  assert {
    condition = alltrue([for zone, t in aws_ecs_task_definition.zone :
      contains(jsondecode(t.container_definitions)[0].command, "--zone=${zone}") && aws_ecs_service.zone[zone].task_definition == t.arn
    ])
    error_message = "agents are told another zone than theirs"
  }
  assert {
    condition     = alltrue([for s in aws_ecs_service.zone : !s.network_configuration[0].assign_public_ip && s.network_configuration[0].security_groups == toset([aws_security_group.agents.id])])
    error_message = "agents have public addresses or other security groups"
  }
  assert {
    condition = alltrue([for s in aws_ecs_service.zone :
      s.deployment_minimum_healthy_percent == 100 && s.deployment_maximum_percent == 200 && s.deployment_circuit_breaker[0].enable && s.deployment_circuit_breaker[0].rollback
    ])
    error_message = "a deployment takes agents away before new ones serve, or goes on when they do not"
  }
  assert {
    condition     = alltrue([for s in aws_ecs_service.zone : one(s.load_balancer).target_group_arn == aws_lb_target_group.this.arn && one(s.load_balancer).container_port == 9092])
    error_message = "agents are not behind the balancer"
  }
  assert {
    condition = alltrue([for s in aws_ecs_service.zone :
      s.launch_type == "FARGATE" && s.cluster == aws_ecs_cluster.this.id && s.health_check_grace_period_seconds == 300 && !s.enable_execute_command && s.wait_for_steady_state
    ])
    error_message = "in another cluster, not on Fargate, open to commands, killed while it starts, or nobody waits for it"
  }
  assert {
    condition     = alltrue([for t in aws_ecs_task_definition.zone : [t.network_mode, t.requires_compatibilities, tonumber(t.cpu), tonumber(t.memory), t.runtime_platform[0].cpu_architecture] == ["awsvpc", toset(["FARGATE"]), 1024, 2048, "X86_64"]])
    error_message = "tasks that Fargate does not start, or larger ones"
  }
  assert {
    condition     = { for s in aws_ecs_cluster.this.setting : s.name => s.value } == { containerInsights = "disabled" }
    error_message = "metrics that cost, and that nobody asked for"
  }
}

run "what_the_caller_chooses" {
  command = apply
  variables {
    architecture          = "ARM64"
    cpu                   = 2048
    memory                = 8192
    stop_timeout          = 60
    deregistration_delay  = 45
    log_days              = 90
    log_kms_key_arn       = "arn:aws:kms:eu-central-1:123456789012:key/logs"
    deletion_protection   = false
    wait_for_steady_state = false
    container_insights    = true
    cpu_target            = 45
    client_routing        = "any_availability_zone"
  }

  assert {
    condition = alltrue([for t in aws_ecs_task_definition.zone :
      [tonumber(t.cpu), tonumber(t.memory), t.runtime_platform[0].cpu_architecture, jsondecode(t.container_definitions)[0].stopTimeout] == [2048, 8192, "ARM64", 60] &&
      contains(jsondecode(t.container_definitions)[0].command, "--cache-memory=2048MiB") && jsondecode(t.container_definitions)[0].environment == [{ name = "GOMEMLIMIT", value = "6963MiB" }]
    ])
    error_message = "other agents"
  }
  assert {
    condition     = [aws_cloudwatch_log_group.this.retention_in_days, aws_cloudwatch_log_group.this.kms_key_id] == [90, "arn:aws:kms:eu-central-1:123456789012:key/logs"]
    error_message = "another log"
  }
  assert {
    condition     = !aws_lb.this.enable_deletion_protection && aws_lb.this.dns_record_client_routing_policy == "any_availability_zone" && tonumber(aws_lb_target_group.this.deregistration_delay) == 45
    error_message = "another balancer"
  }
  assert {
    condition     = alltrue([for s in aws_ecs_service.zone : !s.wait_for_steady_state]) && one(aws_ecs_cluster.this.setting).value == "enabled"
    error_message = "another service or cluster"
  }
  assert {
    condition     = alltrue([for p in aws_appautoscaling_policy.cpu : p.target_tracking_scaling_policy_configuration[0].target_value == 45])
    error_message = "another target"
  }
}

run "clients_are_told_a_name_of_ones_own" {
  command = apply
  variables {
    host_name = "kafka.example.org"
  }

  assert {
    condition = alltrue([for t in aws_ecs_task_definition.zone :
      contains(jsondecode(t.container_definitions)[0].command, "--advertise=shared=kafka.example.org:9092")
    ]) && output.bootstrap == "kafka.example.org:9092"
    error_message = "clients are told another name"
  }
}

run "what_an_agent_is_told" {
  command = apply
  variables {
    settings = { flush-interval = "100ms" }
  }

  assert {
    condition = jsondecode(aws_ecs_task_definition.zone["eu-central-1b"].container_definitions)[0].command == [
      "agent", "--zone=eu-central-1b", "--listen=0.0.0.0:9092?zone=eu-central-1b", "--store=s3://example-leat/team?region=eu-central-1",
      "--journal=bucket:", "--cluster=c1", "--advertise=shared=leat-0.elb.eu-central-1.amazonaws.com:9092", "--peer=0.0.0.0:9600",
      "--http=0.0.0.0:9644", "--cache-memory=512MiB", "--cache-dir=/cache", "--cache-disk=10GiB", "--flush-interval=100ms", "--log-format=json",
    ]
    error_message = aws_ecs_task_definition.zone["eu-central-1b"].container_definitions
  }
  assert {
    condition     = output.bootstrap == "leat-0.elb.eu-central-1.amazonaws.com:9092"
    error_message = "clients begin elsewhere than where agents send them"
  }
  assert {
    condition     = output.store == "s3://example-leat/team?region=eu-central-1"
    error_message = "another store"
  }
}

run "the_container_has_no_more_than_it_needs" {
  command = apply

  assert {
    condition = alltrue([for t in aws_ecs_task_definition.zone : alltrue([
      for c in jsondecode(t.container_definitions) : c.readonlyRootFilesystem && c.user == "65532:65532" && c.linuxParameters.capabilities.drop == ["ALL"]
    ])])
    error_message = "root, or a root file system that can be written"
  }
  assert {
    condition     = jsondecode(aws_ecs_task_definition.zone["eu-central-1a"].container_definitions)[0].mountPoints == [{ sourceVolume = "cache", containerPath = "/cache", readOnly = false }]
    error_message = "the cache has no place"
  }
  assert {
    condition     = length(aws_ecs_task_definition.zone["eu-central-1a"].ephemeral_storage) == 0
    error_message = "disk that costs, for a cache that fits into what is free"
  }
  assert {
    condition     = jsondecode(aws_ecs_task_definition.zone["eu-central-1a"].container_definitions)[0].healthCheck == { command = ["CMD", "/leat", "health", "--live", "--http=127.0.0.1:9644"], interval = 10, timeout = 5, retries = 3, startPeriod = 60 }
    error_message = "another health check"
  }
  assert {
    condition = alltrue([for t in aws_ecs_task_definition.zone : alltrue([for c in jsondecode(t.container_definitions) :
      c.image == "123456789012.dkr.ecr.eu-central-1.amazonaws.com/leat:1.0" && c.essential && c.stopTimeout == 30 && c.portMappings == [
        for port in [9092, 9600, 9644] : { containerPort = port, hostPort = port, protocol = "tcp" }
      ]
    ])])
    error_message = "another image, a task that outlives its agent, or ports that nobody reaches"
  }
  # Go's collector must work before the kernel kills.
  assert {
    condition     = jsondecode(aws_ecs_task_definition.zone["eu-central-1a"].container_definitions)[0].environment == [{ name = "GOMEMLIMIT", value = "1740MiB" }]
    error_message = "another limit"
  }
  assert {
    condition = jsondecode(aws_ecs_task_definition.zone["eu-central-1a"].container_definitions)[0].logConfiguration == { logDriver = "awslogs", options = {
      awslogs-group = output.log_group, awslogs-region = "eu-central-1", awslogs-stream-prefix = "agent", mode = "non-blocking", max-buffer-size = "4m"
    } }
    error_message = "logs go elsewhere, or agents wait for them"
  }
  assert {
    condition     = aws_cloudwatch_log_group.this.name == output.log_group && output.log_group == "/leat/leat" && aws_cloudwatch_log_group.this.retention_in_days == 30
    error_message = "no log group, or for another time"
  }
}

run "a_large_cache_has_its_disk" {
  command = apply
  variables {
    cache_disk = 50
  }
  assert {
    condition     = aws_ecs_task_definition.zone["eu-central-1a"].ephemeral_storage[0].size_in_gib == 60
    error_message = "the cache does not fit"
  }
}

run "without_a_disk" {
  command = apply
  variables {
    cache_disk = 0
  }
  assert {
    condition = alltrue([for t in aws_ecs_task_definition.zone : length(t.volume) == 0 && length(jsondecode(t.container_definitions)[0].mountPoints) == 0 && alltrue([
      for a in jsondecode(t.container_definitions)[0].command : !startswith(a, "--cache-d")
    ])])
    error_message = "a disk cache that nobody asked for"
  }
}

# agent/drain.go: an agent needs less than 10 s from SIGTERM to its end, the first 4 of them for clients to go.
run "leaving_matches_the_drain" {
  command = apply

  assert {
    condition     = alltrue([for t in aws_ecs_task_definition.zone : jsondecode(t.container_definitions)[0].stopTimeout >= 15])
    error_message = "an agent is killed while it drains"
  }
  assert {
    condition     = tonumber(aws_lb_target_group.this.deregistration_delay) == 20 && !aws_lb_target_group.this.connection_termination
    error_message = "the balancer cuts connections that the agent would end between two requests"
  }
  assert {
    condition = [for c in aws_lb_target_group.this.health_check : [c.interval, c.timeout, c.unhealthy_threshold, c.healthy_threshold]] == [[5, 4, 2, 2]]
    # Sooner, and the balancer cuts the connections of an agent that drains and says that it is not ready; later, and clients stay longer with a dead one.
    error_message = "the balancer takes other than 10 s to notice, of which the README tells"
  }
  assert {
    condition     = aws_lb_target_group.this.target_health_state[0].enable_unhealthy_connection_termination
    error_message = "clients stay with an agent that hangs"
  }
}

run "one_internal_balancer" {
  command = apply

  assert {
    condition     = aws_lb.this.internal && aws_lb.this.load_balancer_type == "network" && aws_lb.this.enable_deletion_protection
    error_message = "not an internal network load balancer that is protected"
  }
  assert {
    condition     = !aws_lb.this.enable_cross_zone_load_balancing && aws_lb.this.dns_record_client_routing_policy == "availability_zone_affinity"
    error_message = "traffic crosses zones"
  }
  assert {
    condition     = toset(aws_lb.this.subnet_mapping[*].subnet_id) == toset(["subnet-a", "subnet-b", "subnet-c"]) && aws_lb.this.security_groups == toset([aws_security_group.balancer.id])
    error_message = "not in the three subnets, or with other security groups"
  }
  assert {
    condition     = aws_lb_listener.kafka.protocol == "TCP" && aws_lb_listener.kafka.port == 9092 && one(aws_lb_listener.kafka.default_action).type == "forward" && one(aws_lb_listener.kafka.default_action).target_group_arn == aws_lb_target_group.this.arn
    error_message = "another listener"
  }
  assert {
    condition     = aws_lb_listener.kafka.tcp_idle_timeout_seconds > 600
    error_message = "the balancer forgets connections that agents and clients keep"
  }
  assert {
    condition     = [for c in aws_lb_target_group.this.health_check : [c.protocol, c.port, c.path, c.matcher]] == [["HTTP", "9644", "/readyz", "200"]]
    error_message = "another health check"
  }
  assert {
    condition     = [aws_lb_target_group.this.protocol, aws_lb_target_group.this.port, aws_lb_target_group.this.vpc_id] == ["TCP", 9092, "vpc-1"]
    error_message = "another target group"
  }
  assert {
    condition     = aws_lb_target_group.this.target_type == "ip" && tobool(aws_lb_target_group.this.preserve_client_ip) && !aws_lb_target_group.this.proxy_protocol_v2
    error_message = "agents do not see who their clients are"
  }
}

run "proxy_protocol_on_both_sides" {
  command = apply
  variables {
    proxy_protocol = true
  }

  assert {
    condition     = aws_lb_target_group.this.proxy_protocol_v2 && !tobool(aws_lb_target_group.this.preserve_client_ip)
    error_message = "the balancer sends no headers"
  }
  assert {
    condition     = alltrue([for zone, t in aws_ecs_task_definition.zone : contains(jsondecode(t.container_definitions)[0].command, "--listen=0.0.0.0:9092?zone=${zone}&proxy=v2")])
    error_message = "agents expect no headers"
  }
  assert {
    condition     = alltrue([for t in aws_ecs_task_definition.zone : contains(jsondecode(t.container_definitions)[0].command, "--http=0.0.0.0:9644?proxy=v2")])
    error_message = "the health check sends a header to a port that does not expect one"
  }
  assert {
    condition     = [for c in aws_lb_target_group.this.health_check : [c.protocol, c.port, c.path, c.matcher]] == [["HTTP", "9644", "/readyz", "200"]]
    error_message = "the balancer does not ask whether agents are ready"
  }
}

run "ports" {
  command = apply
  variables {
    metrics_cidrs = ["10.1.0.0/16"]
  }

  assert {
    condition = { for k, r in aws_vpc_security_group_ingress_rule.clients : k => [r.security_group_id, r.cidr_ipv4, r.from_port, r.to_port] } == {
      for c in ["10.0.0.0/12", "192.168.7.0/24"] : c => [aws_security_group.balancer.id, c, 9092, 9092]
    }
    error_message = "others than the stated ranges reach the balancer"
  }
  assert {
    condition = { for k, r in aws_vpc_security_group_ingress_rule.balancer : k => [r.security_group_id, r.referenced_security_group_id, r.from_port, r.to_port] } == {
      clients = [aws_security_group.agents.id, aws_security_group.balancer.id, 9092, 9092]
      health  = [aws_security_group.agents.id, aws_security_group.balancer.id, 9644, 9644]
    }
    error_message = "others than the balancer reach agents"
  }
  assert {
    condition     = { for k, r in aws_vpc_security_group_egress_rule.balancer : k => [r.referenced_security_group_id, r.from_port, r.to_port] } == { clients = [aws_security_group.agents.id, 9092, 9092], health = [aws_security_group.agents.id, 9644, 9644] }
    error_message = "the balancer does not reach agents"
  }
  assert {
    condition = alltrue([for r in [aws_vpc_security_group_ingress_rule.peers, aws_vpc_security_group_egress_rule.peers] :
      r.security_group_id == aws_security_group.agents.id && r.referenced_security_group_id == aws_security_group.agents.id && r.from_port == 9600 && r.to_port == 9600
    ])
    error_message = "agents reach each other's port by more or less than their own group"
  }
  assert {
    condition     = { for k, r in aws_vpc_security_group_ingress_rule.metrics : k => [r.from_port, r.to_port] } == { "10.1.0.0/16" = [9644, 9644] }
    error_message = "metrics"
  }
  assert {
    condition     = aws_vpc_security_group_egress_rule.s3.prefix_list_id == data.aws_prefix_list.s3.id && data.aws_prefix_list.s3.name == "com.amazonaws.eu-central-1.s3" && keys(aws_vpc_security_group_egress_rule.https) == ["10.60.0.0/20"]
    error_message = "ways out"
  }
  assert {
    condition = alltrue([for r in concat(values(aws_vpc_security_group_ingress_rule.clients), values(aws_vpc_security_group_ingress_rule.balancer), values(aws_vpc_security_group_ingress_rule.metrics),
      values(aws_vpc_security_group_egress_rule.balancer), values(aws_vpc_security_group_egress_rule.https), [aws_vpc_security_group_egress_rule.s3, aws_vpc_security_group_ingress_rule.peers, aws_vpc_security_group_egress_rule.peers],
    ) : r.ip_protocol == "tcp"])
    error_message = "a rule for more than TCP"
  }
  assert {
    condition     = alltrue([for r in concat(values(aws_vpc_security_group_egress_rule.https), [aws_vpc_security_group_egress_rule.s3]) : r.security_group_id == aws_security_group.agents.id && r.from_port == 443 && r.to_port == 443])
    error_message = "ways out for others, or to other ports"
  }
  assert {
    condition     = [aws_security_group.balancer.vpc_id, aws_security_group.agents.vpc_id] == ["vpc-1", "vpc-1"] && alltrue([for r in aws_vpc_security_group_ingress_rule.metrics : r.security_group_id == aws_security_group.agents.id && r.cidr_ipv4 == "10.1.0.0/16"])
    error_message = "groups elsewhere, or metrics for others"
  }
  assert {
    condition = alltrue([for d in flatten([
      aws_security_group.balancer.description, aws_security_group.agents.description,
      [for r in aws_vpc_security_group_ingress_rule.clients : r.description], [for r in aws_vpc_security_group_ingress_rule.balancer : r.description],
      [for r in aws_vpc_security_group_ingress_rule.metrics : r.description], [for r in aws_vpc_security_group_egress_rule.balancer : r.description],
      [for r in aws_vpc_security_group_egress_rule.https : r.description], aws_vpc_security_group_egress_rule.s3.description,
      aws_vpc_security_group_ingress_rule.peers.description, aws_vpc_security_group_egress_rule.peers.description,
    ]) : can(regex("^[a-zA-Z0-9 ._:/()#,@+=&;{}!$*\\[\\]-]{1,255}$", d))])
    error_message = "a description has a character that EC2 refuses"
  }
}

run "prometheus_finds_each_agent" {
  command = apply
  variables {
    metrics_cidrs  = ["10.1.0.0/16"]
    metrics_domain = "leat.internal"
  }

  assert {
    condition     = [for n in aws_service_discovery_private_dns_namespace.metrics : [n.name, n.vpc]] == [["leat.internal", "vpc-1"]]
    error_message = "another domain, or another VPC's"
  }
  # Route 53 answers with eight addresses at most, so a name for each zone. With health checks, agents that are not well would have none.
  assert {
    condition = { for zone, s in aws_service_discovery_service.metrics : zone => [s.name, s.dns_config[0].routing_policy, [for r in s.dns_config[0].dns_records : [r.type, r.ttl]]] } == {
      for zone in ["eu-central-1a", "eu-central-1b", "eu-central-1c"] : zone => [zone, "MULTIVALUE", [["A", 15]]]
    }
    error_message = "not a name for each zone with the addresses of its agents"
  }
  assert {
    condition = alltrue([for s in aws_service_discovery_service.metrics :
      s.dns_config[0].namespace_id == aws_service_discovery_private_dns_namespace.metrics[0].id && length(s.health_check_config) == 0 && length(s.health_check_custom_config) == 0 && s.force_destroy
    ])
    error_message = "names of another domain, that hide agents, or that cannot be deleted"
  }
  assert {
    condition     = { for zone, s in aws_ecs_service.zone : zone => one(s.service_registries).registry_arn } == { for zone, s in aws_service_discovery_service.metrics : zone => s.arn }
    error_message = "a zone's agents are registered elsewhere"
  }
  assert {
    condition = output.metrics == {
      names   = ["eu-central-1a.leat.internal", "eu-central-1b.leat.internal", "eu-central-1c.leat.internal"], port = 9644
      zone_id = aws_service_discovery_private_dns_namespace.metrics[0].hosted_zone
    }
    error_message = "Prometheus is told other names"
  }
}

run "no_names_unless_asked" {
  command = apply
  variables {
    metrics_cidrs = ["10.1.0.0/16"]
  }
  assert {
    condition     = length(aws_service_discovery_private_dns_namespace.metrics) == 0 && length(aws_service_discovery_service.metrics) == 0 && output.metrics == null
    error_message = "a domain that nobody asked for"
  }
  assert {
    condition     = alltrue([for s in aws_ecs_service.zone : length(s.service_registries) == 0])
    error_message = "agents are registered"
  }
}

run "more_agents_than_a_name_leads_to" {
  command = plan
  variables {
    metrics_cidrs       = ["10.1.0.0/16"]
    metrics_domain      = "leat.internal"
    max_agents_per_zone = 9
  }
  expect_failures = [aws_service_discovery_private_dns_namespace.metrics]
}

run "rights_end_at_the_prefix" {
  command = apply

  assert {
    condition = jsondecode(aws_iam_role_policy.agent.policy).Statement == [
      { Sid = "Objects", Effect = "Allow", Action = ["s3:GetObject", "s3:PutObject", "s3:DeleteObject"], Resource = "arn:aws:s3:::example-leat/team/c1/*" },
      { Sid = "List", Effect = "Allow", Action = "s3:ListBucket", Resource = "arn:aws:s3:::example-leat", Condition = { StringLike = { "s3:prefix" = "team/c1/*" } } },
    ]
    error_message = aws_iam_role_policy.agent.policy
  }
  assert {
    condition = alltrue([for r in [aws_iam_role.agent, aws_iam_role.execution] : jsondecode(r.assume_role_policy).Statement == [{
      Effect = "Allow", Principal = { Service = "ecs-tasks.amazonaws.com" }, Action = "sts:AssumeRole", Condition = {
        StringEquals = { "aws:SourceAccount" = "123456789012" }, ArnLike = { "aws:SourceArn" = "arn:aws:ecs:eu-central-1:123456789012:*" }
      }
    }]])
    error_message = "others may take the roles"
  }
  assert {
    condition     = alltrue([for t in aws_ecs_task_definition.zone : t.task_role_arn == aws_iam_role.agent.arn && t.execution_role_arn == aws_iam_role.execution.arn])
    error_message = "roles are mixed up"
  }
  assert {
    condition = jsondecode(aws_iam_role_policy.execution.policy).Statement == [{
      Sid      = "Log", Effect = "Allow", Action = ["logs:CreateLogStream", "logs:PutLogEvents"]
      Resource = "arn:aws:logs:eu-central-1:123456789012:log-group:/leat/leat:*"
    }]
    error_message = aws_iam_role_policy.execution.policy
  }
}

run "rights_to_key_and_image" {
  command = apply
  variables {
    kms_key_arn          = "arn:aws:kms:eu-central-1:123456789012:key/k"
    image_repository_arn = "arn:aws:ecr:eu-central-1:123456789012:repository/leat"
  }
  assert {
    condition = [for s in jsondecode(aws_iam_role_policy.agent.policy).Statement : [s.Action, s.Resource] if s.Sid == "Key"] == [
      [["kms:Decrypt", "kms:GenerateDataKey"], "arn:aws:kms:eu-central-1:123456789012:key/k"]
    ]
    error_message = aws_iam_role_policy.agent.policy
  }
  assert {
    condition = { for s in jsondecode(aws_iam_role_policy.execution.policy).Statement : s.Sid => s.Resource if s.Sid != "Log" } == {
      Image = "arn:aws:ecr:eu-central-1:123456789012:repository/leat", Registry = "*"
    }
    error_message = aws_iam_role_policy.execution.policy
  }
}

# One agent can be lost in each zone, and its clients need no DNS to find another.
run "two_agents_in_each_zone_unless_told" {
  command = apply
  assert {
    condition     = alltrue([for s in aws_ecs_service.zone : s.desired_count == 2]) && alltrue([for t in aws_appautoscaling_target.zone : t.min_capacity == 2])
    error_message = "clients of a zone whose agent dies wait for the DNS"
  }
}

run "each_zone_grows_by_its_own_load" {
  command = apply
  variables {
    min_agents_per_zone = 2
    max_agents_per_zone = 5
    network_target      = 25
  }

  assert {
    condition = { for zone, t in aws_appautoscaling_target.zone : zone => [t.resource_id, t.min_capacity, t.max_capacity] } == {
      for zone in ["eu-central-1a", "eu-central-1b", "eu-central-1c"] : zone => ["service/leat/leat-${zone}", 2, 5]
    }
    error_message = "other services or numbers"
  }
  assert {
    condition     = alltrue([for p in aws_appautoscaling_policy.cpu : p.target_tracking_scaling_policy_configuration[0].predefined_metric_specification[0].predefined_metric_type == "ECSServiceAverageCPUUtilization"])
    error_message = "CPU does not count"
  }
  assert {
    condition     = alltrue([for p in aws_appautoscaling_policy.network : p.target_tracking_scaling_policy_configuration[0].target_value == 25000000])
    error_message = "another target than 25 MB/s"
  }
  assert {
    condition = alltrue([for p in concat(values(aws_appautoscaling_policy.cpu), values(aws_appautoscaling_policy.network)) :
      p.policy_type == "TargetTrackingScaling" && p.service_namespace == "ecs" && p.scalable_dimension == "ecs:service:DesiredCount" && [
        for c in p.target_tracking_scaling_policy_configuration : [c.scale_out_cooldown, c.scale_in_cooldown]
      ] == [[60, 600]]
    ]) && alltrue([for p in aws_appautoscaling_policy.cpu : p.target_tracking_scaling_policy_configuration[0].target_value == 60])
    error_message = "another kind of scaling, another pace, or another target than 60 %"
  }
  assert {
    condition = alltrue([for p in aws_appautoscaling_policy.network : { for m in p.target_tracking_scaling_policy_configuration[0].customized_metric_specification[0].metrics :
      m.id => length(m.metric_stat) == 0 ? [m.expression, tostring(m.return_data)] : [m.metric_stat[0].stat, tostring(m.return_data)]
    } == { bytes = ["Sum", "false"], agents = ["Average", "false"], rate = ["FILL(bytes, 0) / 60 / agents", "true"] }])
    error_message = "not bytes a second and agent, of sums over a minute"
  }
  assert {
    condition = alltrue([for p in aws_appautoscaling_policy.network : alltrue([for m in p.target_tracking_scaling_policy_configuration[0].customized_metric_specification[0].metrics :
      m.metric_stat[0].metric[0].namespace == "AWS/NetworkELB" && { for d in m.metric_stat[0].metric[0].dimensions : d.name => d.value if d.name != "AvailabilityZone" } == merge(
        { LoadBalancer = aws_lb.this.arn_suffix }, m.id == "agents" ? { TargetGroup = aws_lb_target_group.this.arn_suffix } : {}
      ) if length(m.metric_stat) > 0
    ])])
    error_message = "another balancer's bytes or agents"
  }
  assert {
    condition = alltrue([for zone, p in aws_appautoscaling_policy.network : p.resource_id == "service/leat/leat-${zone}" && toset([
      for m in p.target_tracking_scaling_policy_configuration[0].customized_metric_specification[0].metrics :
      [m.metric_stat[0].metric[0].metric_name, one([for d in m.metric_stat[0].metric[0].dimensions : d.value if d.name == "AvailabilityZone"])] if length(m.metric_stat) > 0
    ]) == toset([["ProcessedBytes", zone], ["HealthyHostCount", zone]])])
    error_message = "a zone is measured by another's bytes or agents"
  }
}
