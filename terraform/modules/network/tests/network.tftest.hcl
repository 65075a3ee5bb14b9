mock_provider "aws" {
  mock_data "aws_partition" { defaults = { partition = "aws" } }
  mock_data "aws_region" { defaults = { region = "eu-central-1" } }
  mock_data "aws_caller_identity" { defaults = { account_id = "123456789012" } }
}

variables {
  name         = "leat"
  zones        = ["eu-central-1a", "eu-central-1b", "eu-central-1c"]
  bucket_names = ["example-leat"]
}

run "private_subnets" {
  command = apply

  assert {
    condition = { for zone, s in aws_subnet.zone : zone => s.cidr_block } == {
      eu-central-1a = "10.60.0.0/22", eu-central-1b = "10.60.4.0/22", eu-central-1c = "10.60.8.0/22"
    }
    error_message = "addresses of subnets"
  }
  assert {
    condition     = alltrue([for s in aws_subnet.zone : !s.map_public_ip_on_launch])
    error_message = "a subnet gives public addresses"
  }
  assert {
    condition     = length(aws_route_table.private.route) == 0
    error_message = "there is a route out"
  }
  assert {
    condition     = length(aws_default_security_group.nothing.ingress) == 0 && length(aws_default_security_group.nothing.egress) == 0
    error_message = "the default group lets something through"
  }
  assert {
    condition     = { for zone, s in aws_subnet.zone : zone => s.id } == output.subnets
    error_message = "subnets are not where the outputs say"
  }
  assert {
    condition     = alltrue([for zone, s in aws_subnet.zone : s.availability_zone == zone && s.vpc_id == aws_vpc.this.id])
    error_message = "a subnet is in another zone than it is called after, or in another VPC"
  }
  assert {
    condition     = { for zone, a in aws_route_table_association.zone : zone => [a.subnet_id, a.route_table_id] } == { for zone, s in aws_subnet.zone : zone => [s.id, aws_route_table.private.id] }
    error_message = "a subnet has another route table"
  }
  assert {
    condition     = aws_vpc.this.enable_dns_support && aws_vpc.this.enable_dns_hostnames && aws_vpc.this.cidr_block == "10.60.0.0/20"
    error_message = "names of endpoints do not resolve, or other addresses"
  }
  assert {
    condition     = length(aws_flow_log.this) == 0
    error_message = "a flow log that nobody asked for"
  }
}

run "s3_endpoint" {
  command = apply

  assert {
    condition     = aws_vpc_endpoint.s3.vpc_endpoint_type == "Gateway" && aws_vpc_endpoint.s3.service_name == "com.amazonaws.eu-central-1.s3" && aws_vpc_endpoint.s3.vpc_id == aws_vpc.this.id && aws_vpc_endpoint.s3.route_table_ids == toset([aws_route_table.private.id])
    error_message = "subnets do not reach S3"
  }
  assert {
    condition = toset(flatten([for s in jsondecode(aws_vpc_endpoint.s3.policy).Statement : s.Resource])) == toset([
      "arn:aws:s3:::example-leat", "arn:aws:s3:::example-leat/*", "arn:aws:s3:::prod-eu-central-1-starport-layer-bucket/*",
    ])
    error_message = "other buckets: ${aws_vpc_endpoint.s3.policy}"
  }
  assert {
    condition = toset(flatten([for s in jsondecode(aws_vpc_endpoint.s3.policy).Statement : s.Action if s.Sid == "Buckets"])) == toset([
      "s3:GetObject", "s3:PutObject", "s3:DeleteObject", "s3:ListBucket",
    ])
    error_message = "other actions: ${aws_vpc_endpoint.s3.policy}"
  }
}

run "interface_endpoints" {
  command = apply

  assert {
    condition     = toset([for e in aws_vpc_endpoint.interface : e.service_name]) == toset([for s in ["ecr.api", "ecr.dkr", "logs"] : "com.amazonaws.eu-central-1.${s}"])
    error_message = "Fargate cannot pull or log"
  }
  assert {
    condition     = alltrue([for e in aws_vpc_endpoint.interface : e.vpc_endpoint_type == "Interface" && e.security_group_ids == toset([aws_security_group.endpoints[0].id])])
    error_message = "another kind of endpoint, or another group"
  }
  assert {
    condition     = alltrue([for e in aws_vpc_endpoint.interface : e.private_dns_enabled && e.subnet_ids == toset(values(output.subnets))])
    error_message = "a zone has no endpoint of its own, or no name for it"
  }
  assert {
    condition     = aws_vpc_security_group_ingress_rule.endpoints[0].cidr_ipv4 == "10.60.0.0/20" && [for r in aws_vpc_security_group_ingress_rule.endpoints : [r.security_group_id, r.ip_protocol, r.from_port, r.to_port]] == [[aws_security_group.endpoints[0].id, "tcp", 443, 443]]
    error_message = "the endpoints are open to others"
  }
}

run "without_endpoints" {
  command = apply
  variables {
    interface_endpoints = []
  }
  assert {
    condition     = length(aws_vpc_endpoint.interface) == 0 && length(aws_security_group.endpoints) == 0
    error_message = "endpoints that nobody asked for"
  }
}

run "flow_log" {
  command = apply
  variables {
    flow_log_days = 14
    kms_key_arn   = "arn:aws:kms:eu-central-1:123456789012:key/k"
  }
  assert {
    condition     = aws_flow_log.this[0].log_destination == aws_cloudwatch_log_group.flow[0].arn && aws_cloudwatch_log_group.flow[0].retention_in_days == 14
    error_message = "no flow log"
  }
  assert {
    condition = [aws_flow_log.this[0].traffic_type, aws_flow_log.this[0].vpc_id, aws_flow_log.this[0].iam_role_arn, aws_cloudwatch_log_group.flow[0].kms_key_id] == [
      "ALL", aws_vpc.this.id, aws_iam_role.flow[0].arn, "arn:aws:kms:eu-central-1:123456789012:key/k"
    ]
    error_message = "not all of this VPC, without its role, or with another key"
  }
  assert {
    condition = jsondecode(aws_iam_role.flow[0].assume_role_policy).Statement == [{
      Effect    = "Allow", Principal = { Service = "vpc-flow-logs.amazonaws.com" }, Action = "sts:AssumeRole"
      Condition = { StringEquals = { "aws:SourceAccount" = "123456789012" } }
    }]
    error_message = "others may take the flow log's role"
  }
  assert {
    condition = [for s in jsondecode(aws_iam_role_policy.flow[0].policy).Statement : s.Resource if s.Sid == "Write"] == [
      "arn:aws:logs:eu-central-1:123456789012:log-group:/leat/leat/flow:*"
    ]
    error_message = "the flow log's role may write elsewhere"
  }
}

run "refuses_two_zones" {
  command = plan
  variables {
    zones = ["eu-central-1a", "eu-central-1b"]
  }
  expect_failures = [var.zones]
}

run "refuses_a_zone_twice" {
  command = plan
  variables {
    zones = ["eu-central-1a", "eu-central-1b", "eu-central-1b"]
  }
  expect_failures = [var.zones]
}

run "refuses_more_than_three_zones" {
  command = plan
  variables {
    zones = ["eu-central-1a", "eu-central-1b", "eu-central-1c", "eu-central-1c"]
  }
  expect_failures = [var.zones]
}

run "refuses_zone_ids" {
  command = plan
  variables {
    zones = ["euc1-az1", "euc1-az2", "euc1-az3"]
  }
  expect_failures = [var.zones]
}

run "refuses_what_aws_would_not_take" {
  command = plan
  variables {
    cidr          = "10.0.0.0/28"
    bucket_names  = []
    flow_log_days = 2
    name          = "LEAT"
  }
  expect_failures = [var.cidr, var.bucket_names, var.flow_log_days, var.name]
}
