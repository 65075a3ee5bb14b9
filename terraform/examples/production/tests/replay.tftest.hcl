# Everything of the example, made of mocks. replay/ sends the values in it to an API.

mock_provider "aws" {
  mock_data "aws_partition" { defaults = { partition = "aws" } }
  mock_data "aws_region" { defaults = { region = "eu-central-1" } }
  mock_data "aws_caller_identity" { defaults = { account_id = "123456789012" } }
  mock_resource "aws_kms_key" { defaults = { arn = "arn:aws:kms:eu-central-1:123456789012:key/mock" } }
}

variables {
  region               = "eu-central-1"
  cidr                 = "10.60.0.0/20"
  client_cidrs         = ["10.0.0.0/12"]
  metrics_cidrs        = ["10.1.2.0/24"]
  bucket               = "example-leat-production"
  image                = "123456789012.dkr.ecr.eu-central-1.amazonaws.com/leat@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
  image_repository_arn = "arn:aws:ecr:eu-central-1:123456789012:repository/leat"
}

run "everything" {
  command = apply
  assert {
    condition     = output.metrics.names == [for letter in ["a", "b", "c"] : "eu-central-1${letter}.leat.internal"]
    error_message = "Prometheus is told other names"
  }
  assert {
    condition     = output.bootstrap == "${output.load_balancer.dns_name}:9092"
    error_message = "bootstrap is not the balancer's address"
  }
}
