mock_provider "aws" {
  mock_data "aws_partition" { defaults = { partition = "aws" } }
  mock_data "aws_region" { defaults = { region = "eu-central-1" } }
  mock_data "aws_caller_identity" { defaults = { account_id = "123456789012" } }
  mock_resource "aws_lb" { defaults = { dns_name = "leat-0.elb.eu-central-1.amazonaws.com" } }
}

variables {
  bucket               = "example-leat"
  image                = "123456789012.dkr.ecr.eu-central-1.amazonaws.com/leat:1.0"
  image_repository_arn = "arn:aws:ecr:eu-central-1:123456789012:repository/leat"
}

run "three_agents_behind_one_address" {
  command = apply
  assert {
    condition     = output.bootstrap == "leat-0.elb.eu-central-1.amazonaws.com:9092"
    error_message = "another address"
  }
  assert {
    condition     = keys(module.agents.service_names) == ["eu-central-1a", "eu-central-1b", "eu-central-1c"]
    error_message = "other zones"
  }
  assert {
    condition     = module.agents.store == "s3://example-leat?region=eu-central-1" && module.bucket.name == "example-leat"
    error_message = "agents use another bucket"
  }
}
