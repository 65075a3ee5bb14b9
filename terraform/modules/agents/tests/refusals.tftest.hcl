mock_provider "aws" {
  mock_data "aws_partition" { defaults = { partition = "aws" } }
  mock_data "aws_region" { defaults = { region = "eu-central-1" } }
  mock_data "aws_caller_identity" { defaults = { account_id = "123456789012" } }
}

variables {
  name               = "leat"
  image              = "example.org/leat:1.0"
  vpc_id             = "vpc-1"
  subnets            = { eu-central-1a = "subnet-a", eu-central-1b = "subnet-b", eu-central-1c = "subnet-c" }
  client_cidrs       = ["10.0.0.0/12"]
  https_egress_cidrs = ["0.0.0.0/0"]
  bucket_name        = "example-leat"
}

run "takes_these" {
  command = plan
}

run "refuses_what_nobody_should_have" {
  command = plan
  variables {
    client_cidrs         = ["0.0.0.0/0"]
    metrics_cidrs        = ["0.0.0.0/0"]
    subnets              = { eu-central-1a = "subnet-a", eu-central-1b = "subnet-b" }
    image                = "example.org/leat:latest"
    name                 = "a-name-of-21-letters-x"
    memory               = 16384
    min_agents_per_zone  = 0
    stop_timeout         = 10
    deregistration_delay = 0
    settings             = { advertise = "10.0.0.1:9092" }
    bucket_prefix        = "team/"
    cluster              = "a/b"
    log_days             = 2
    client_routing       = "round_robin"
    architecture         = "RISCV"
    cache_disk           = 200
    cpu_target           = 5
    network_target       = 0
    image_repository_arn = "leat"
    https_egress_cidrs   = ["internet"]
    host_name            = "kafka.example.org:9092"
  }
  expect_failures = [
    var.client_cidrs, var.metrics_cidrs, var.subnets, var.image, var.name,
    var.memory, var.min_agents_per_zone, var.stop_timeout, var.deregistration_delay, var.settings,
    var.bucket_prefix, var.cluster, var.log_days, var.client_routing, var.architecture,
    var.cache_disk, var.cpu_target, var.network_target, var.image_repository_arn, var.https_egress_cidrs, var.host_name,
  ]
}

run "refuses_more_of_that" {
  command = plan
  variables {
    client_cidrs         = []
    subnets              = { euc1-az1 = "subnet-a", euc1-az2 = "subnet-b", euc1-az3 = "subnet-c" }
    image                = "example.org:5000/leat"
    cpu                  = 1500
    max_agents_per_zone  = 0
    stop_timeout         = 121
    metrics_cidrs        = ["10.1.0.0/16"]
    metrics_domain       = "leat"
    settings             = { name = "agent" }
    deregistration_delay = 301
    name                 = "leat-"
    cluster              = ".."
  }
  expect_failures = [
    var.client_cidrs, var.subnets, var.image, var.cpu, var.max_agents_per_zone,
    var.stop_timeout, var.settings, var.deregistration_delay, var.name, var.cluster, var.metrics_domain,
  ]
}

run "refuses_more_than_three_zones" {
  command = plan
  variables {
    subnets = { eu-central-1a = "subnet-a", eu-central-1b = "subnet-b", eu-central-1c = "subnet-c", eu-central-1d = "subnet-c" }
  }
  expect_failures = [var.subnets]
}

run "refuses_and_more" {
  command = plan
  variables {
    client_cidrs        = ["10.0.0.1"]
    subnets             = { eu-central-1a = "subnet-a", eu-central-1b = "subnet-a", eu-central-1c = "subnet-c" }
    min_agents_per_zone = 1.5
    name                = "Leat"
    metrics_domain      = "leat.internal" # with metrics_cidrs empty
  }
  expect_failures = [
    var.client_cidrs, var.subnets, var.min_agents_per_zone, var.name, var.metrics_domain,
  ]
}
