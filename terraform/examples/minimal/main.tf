# The least that serves: a VPC of its own, a bucket, one agent in each of three zones behind a balancer.

terraform {
  required_version = ">= 1.9"
  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 6.45, < 7.0"
    }
  }
}

provider "aws" {
  region = var.region
}

module "network" {
  source       = "../../modules/network"
  name         = var.name
  zones        = [for letter in var.zone_letters : "${var.region}${letter}"]
  bucket_names = [var.bucket]
}

module "bucket" {
  source        = "../../modules/bucket"
  name          = var.bucket
  force_destroy = true # a trial goes without leaving anything
}

module "agents" {
  source               = "../../modules/agents"
  name                 = var.name
  image                = var.image
  image_repository_arn = var.image_repository_arn

  vpc_id             = module.network.vpc_id
  subnets            = module.network.subnets
  client_cidrs       = [module.network.cidr]
  https_egress_cidrs = [module.network.cidr]

  bucket_name   = module.bucket.name
  bucket_prefix = module.bucket.prefix
  cluster       = module.bucket.cluster

  cpu                 = 512
  memory              = 1024
  min_agents_per_zone = 1 # cheap, and not what to rely on: see module agents
  max_agents_per_zone = 1
  deletion_protection = false
  log_days            = 3
}
