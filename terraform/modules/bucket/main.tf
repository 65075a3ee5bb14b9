locals {
  root = var.prefix == "" ? var.cluster : "${var.prefix}/${var.cluster}"
  arn  = "arn:${data.aws_partition.current.partition}:s3:::${var.name}"

  # What lifecycle rules may touch, a rule for each: a rule cannot leave a prefix out, so journal/ is spared by not being here.
  swept = {
    data     = "${local.root}/data/"
    snapshot = "${local.root}/snapshot/"
    probe    = "${local.root}/probe/"
    head     = "${local.root}/head"
  }
}

data "aws_partition" "current" {}

resource "aws_s3_bucket" "this" {
  #checkov:skip=CKV_AWS_18: access logs would be an object for every few requests of a service that makes many; CloudTrail data events can be had without this bucket's help
  #checkov:skip=CKV_AWS_144: replication to another region copies object by object, so the copy of the journal and the copy of the data it names would not be of one moment
  #checkov:skip=CKV2_AWS_62: nobody is to act on single objects
  bucket        = var.name
  force_destroy = var.force_destroy
  tags          = var.tags
}

resource "aws_s3_bucket_public_access_block" "this" {
  bucket                  = aws_s3_bucket.this.id
  block_public_acls       = true
  block_public_policy     = true
  ignore_public_acls      = true
  restrict_public_buckets = true
}

resource "aws_s3_bucket_ownership_controls" "this" {
  bucket = aws_s3_bucket.this.id
  rule {
    object_ownership = "BucketOwnerEnforced"
  }
}

resource "aws_s3_bucket_server_side_encryption_configuration" "this" {
  bucket = aws_s3_bucket.this.id
  rule {
    bucket_key_enabled = var.kms_key_arn != null
    apply_server_side_encryption_by_default {
      sse_algorithm     = var.kms_key_arn == null ? "AES256" : "aws:kms"
      kms_master_key_id = var.kms_key_arn
    }
  }
}

# Not there at all, rather than "Suspended", when versioning is not wanted: a bucket that was never versioned deletes, while a
# suspended one leaves a marker for every deleted key. Taking the resource away later suspends.
resource "aws_s3_bucket_versioning" "this" {
  count  = var.versioning ? 1 : 0
  bucket = aws_s3_bucket.this.id
  versioning_configuration {
    status = "Enabled"
  }
}

resource "aws_s3_bucket_lifecycle_configuration" "this" {
  #checkov:skip=CKV_AWS_300: this check wants a rule without a prefix, which would touch journal/; aborted uploads go below every prefix that has a rule, and Leat makes none
  bucket = aws_s3_bucket.this.id

  dynamic "rule" {
    for_each = local.swept
    content {
      id     = "leat-${rule.key}"
      status = "Enabled"
      filter {
        prefix = rule.value
      }
      noncurrent_version_expiration {
        noncurrent_days = var.noncurrent_days
      }
      abort_incomplete_multipart_upload {
        days_after_initiation = 1
      }
      # Only markers that hide nothing any more. No rule here may ever have days or a date: nothing current expires.
      expiration {
        expired_object_delete_marker = true
      }
    }
  }

  depends_on = [aws_s3_bucket_versioning.this]
}

resource "aws_s3_bucket_policy" "this" {
  bucket = aws_s3_bucket.this.id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid       = "OnlyTLS"
        Effect    = "Deny"
        Principal = "*"
        Action    = "s3:*"
        Resource  = [local.arn, "${local.arn}/*"]
        Condition = { Bool = { "aws:SecureTransport" = "false" } }
      },
      {
        Sid       = "OnlyTLS12"
        Effect    = "Deny"
        Principal = "*"
        Action    = "s3:*"
        Resource  = [local.arn, "${local.arn}/*"]
        Condition = { NumericLessThan = { "s3:TlsVersion" = "1.2" } }
      },
    ]
  })

  # S3 refuses two changes to a bucket's access at once.
  depends_on = [aws_s3_bucket_public_access_block.this]
}
