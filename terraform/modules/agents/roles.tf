locals {
  # Only tasks of this account and region may take the roles.
  assumed_by_tasks = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Principal = { Service = "ecs-tasks.amazonaws.com" }
      Action    = "sts:AssumeRole"
      Condition = {
        StringEquals = { "aws:SourceAccount" = local.account }
        ArnLike      = { "aws:SourceArn" = "arn:${local.partition}:ecs:${local.region}:${local.account}:*" }
      }
    }]
  })
}

# What an agent may do: read, write and delete what is its cluster's in its bucket. objectstore/s3 makes four calls, GetObject,
# PutObject, DeleteObjects and ListObjectsV2, and no multipart upload. No right to a version: with versioning an agent cannot
# destroy anything at once, whatever it does.
resource "aws_iam_role" "agent" {
  name               = "${var.name}-${local.region}-agent"
  description        = "Agents of ${var.name}: their part of ${var.bucket_name}"
  assume_role_policy = local.assumed_by_tasks
  tags               = var.tags
}

resource "aws_iam_role_policy" "agent" {
  name = "bucket"
  role = aws_iam_role.agent.id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = concat([
      {
        Sid      = "Objects"
        Effect   = "Allow"
        Action   = ["s3:GetObject", "s3:PutObject", "s3:DeleteObject"]
        Resource = "${local.bucket_arn}/${local.root}/*"
      },
      {
        # Also what makes S3 answer 404 instead of 403 for an object that does not exist, on which the journal rests.
        Sid       = "List"
        Effect    = "Allow"
        Action    = "s3:ListBucket"
        Resource  = local.bucket_arn
        Condition = { StringLike = { "s3:prefix" = "${local.root}/*" } }
      },
      ], var.kms_key_arn == null ? [] : [{
        Sid       = "Key"
        Effect    = "Allow"
        Action    = ["kms:Decrypt", "kms:GenerateDataKey"]
        Resource  = var.kms_key_arn
        Condition = { StringEquals = { "kms:ViaService" = "s3.${local.region}.amazonaws.com" } }
    }])
  })
}

# What Fargate may do to start an agent: pull the image, write its log.
resource "aws_iam_role" "execution" {
  name               = "${var.name}-${local.region}-execution"
  description        = "Starts agents of ${var.name}: image and log"
  assume_role_policy = local.assumed_by_tasks
  tags               = var.tags
}

resource "aws_iam_role_policy" "execution" {
  name = "start"
  role = aws_iam_role.execution.id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = concat([
      {
        Sid      = "Log"
        Effect   = "Allow"
        Action   = ["logs:CreateLogStream", "logs:PutLogEvents"]
        Resource = "arn:${local.partition}:logs:${local.region}:${local.account}:log-group:${local.log_group}:*"
      },
      ], [for statement in [
        {
          Sid      = "Image"
          Effect   = "Allow"
          Action   = ["ecr:BatchCheckLayerAvailability", "ecr:GetDownloadUrlForLayer", "ecr:BatchGetImage"]
          Resource = var.image_repository_arn
        },
        {
          Sid      = "Registry" # has no resources
          Effect   = "Allow"
          Action   = ["ecr:GetAuthorizationToken"]
          Resource = "*"
        },
    ] : statement if var.image_repository_arn != null])
  })
}
