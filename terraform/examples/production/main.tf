# What to begin with in earnest: a key of one's own for data and logs, versions kept for a month, two agents or more in each of
# three zones, a flow log, a balancer that cannot be destroyed by a slip.

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
  default_tags {
    tags = { service = "leat", environment = "production" }
  }
}

data "aws_caller_identity" "current" {}
data "aws_partition" "current" {}

# Without the key nothing in the bucket can be read by anybody, ever. Its deletion can be called off for 30 days.
resource "aws_kms_key" "leat" {
  description             = "Data and logs of ${var.name}"
  enable_key_rotation     = true
  deletion_window_in_days = 30
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid       = "AccountByIAM"
        Effect    = "Allow"
        Principal = { AWS = "arn:${data.aws_partition.current.partition}:iam::${data.aws_caller_identity.current.account_id}:root" }
        Action    = "kms:*"
        Resource  = "*"
      },
      {
        Sid       = "Logs"
        Effect    = "Allow"
        Principal = { Service = "logs.${var.region}.amazonaws.com" }
        Action    = ["kms:Encrypt", "kms:Decrypt", "kms:ReEncrypt*", "kms:GenerateDataKey*", "kms:DescribeKey"]
        Resource  = "*"
        Condition = { ArnLike = {
          "kms:EncryptionContext:aws:logs:arn" = "arn:${data.aws_partition.current.partition}:logs:${var.region}:${data.aws_caller_identity.current.account_id}:log-group:/leat/${var.name}*"
        } }
      },
    ]
  })
}

resource "aws_kms_alias" "leat" {
  name          = "alias/${var.name}"
  target_key_id = aws_kms_key.leat.key_id
}

module "network" {
  source        = "../../modules/network"
  name          = var.name
  cidr          = var.cidr
  zones         = [for letter in var.zone_letters : "${var.region}${letter}"]
  bucket_names  = [var.bucket]
  flow_log_days = 30
  kms_key_arn   = aws_kms_key.leat.arn
}

module "bucket" {
  source          = "../../modules/bucket"
  name            = var.bucket
  cluster         = var.name
  kms_key_arn     = aws_kms_key.leat.arn
  noncurrent_days = 30
}

module "agents" {
  source               = "../../modules/agents"
  name                 = var.name
  image                = var.image
  image_repository_arn = var.image_repository_arn

  vpc_id             = module.network.vpc_id
  subnets            = module.network.subnets
  client_cidrs       = var.client_cidrs
  metrics_cidrs      = var.metrics_cidrs
  metrics_domain     = length(var.metrics_cidrs) > 0 ? "${var.name}.internal" : null
  https_egress_cidrs = [module.network.cidr]

  bucket_name   = module.bucket.name
  bucket_prefix = module.bucket.prefix
  cluster       = module.bucket.cluster
  kms_key_arn   = module.bucket.kms_key_arn

  cpu                 = 2048
  memory              = 8192
  cache_disk          = 40
  min_agents_per_zone = 2
  max_agents_per_zone = 8
  network_target      = 60

  log_days        = 90
  log_kms_key_arn = aws_kms_key.leat.arn

  # A topic exists because somebody made it.
  settings = { auto-create-topics = "false" }
}
