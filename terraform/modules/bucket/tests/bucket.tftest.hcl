mock_provider "aws" {
  mock_data "aws_partition" { defaults = { partition = "aws" } }
}

variables {
  name = "example-leat"
}

run "defaults" {
  command = apply

  assert {
    condition = alltrue([for on in [
      aws_s3_bucket_public_access_block.this.block_public_acls, aws_s3_bucket_public_access_block.this.block_public_policy,
      aws_s3_bucket_public_access_block.this.ignore_public_acls, aws_s3_bucket_public_access_block.this.restrict_public_buckets,
    ] : on])
    error_message = "not all public access is blocked"
  }
  assert {
    condition     = aws_s3_bucket_ownership_controls.this.rule[0].object_ownership == "BucketOwnerEnforced"
    error_message = "objects may belong to others"
  }
  assert {
    condition     = one(aws_s3_bucket_server_side_encryption_configuration.this.rule).apply_server_side_encryption_by_default[0].sse_algorithm == "AES256"
    error_message = "not SSE-S3"
  }
  assert {
    condition     = one(aws_s3_bucket_versioning.this[*].versioning_configuration[0].status) == "Enabled"
    error_message = "not versioned"
  }
  assert {
    condition     = !aws_s3_bucket.this.force_destroy
    error_message = "a destroy would take the data along"
  }
  assert {
    condition     = output.name == "example-leat" && output.arn == "arn:aws:s3:::example-leat"
    error_message = "outputs name another bucket"
  }
}

run "only_tls" {
  command = apply

  assert {
    condition = [for s in jsondecode(aws_s3_bucket_policy.this.policy).Statement : s if s.Sid == "OnlyTLS"] == [{
      Sid       = "OnlyTLS", Effect = "Deny", Principal = "*", Action = "s3:*"
      Resource  = ["arn:aws:s3:::example-leat", "arn:aws:s3:::example-leat/*"]
      Condition = { Bool = { "aws:SecureTransport" = "false" } }
    }]
    error_message = "plaintext is not refused: ${aws_s3_bucket_policy.this.policy}"
  }
  assert {
    condition = [for s in jsondecode(aws_s3_bucket_policy.this.policy).Statement : [s.Principal, s.Action, s.Resource, s.Condition] if s.Sid == "OnlyTLS12"] == [
      ["*", "s3:*", ["arn:aws:s3:::example-leat", "arn:aws:s3:::example-leat/*"], { NumericLessThan = { "s3:TlsVersion" = "1.2" } }]
    ]
    error_message = "old TLS is not refused: ${aws_s3_bucket_policy.this.policy}"
  }
  assert {
    condition     = alltrue([for s in jsondecode(aws_s3_bucket_policy.this.policy).Statement : s.Effect == "Deny"])
    error_message = "the policy allows something: ${aws_s3_bucket_policy.this.policy}"
  }
}

# Mocks may fill in what is not set: 0 for days, a random word for a date.
run "lifecycle_spares_what_is_current_and_the_journal" {
  command = apply
  variables {
    prefix          = "team/a"
    cluster         = "c1"
    noncurrent_days = 3
  }

  assert {
    condition = toset([for r in aws_s3_bucket_lifecycle_configuration.this.rule : r.filter[0].prefix]) == toset([
      "team/a/c1/data/", "team/a/c1/snapshot/", "team/a/c1/probe/", "team/a/c1/head",
    ])
    error_message = "rules for other prefixes: ${jsonencode(aws_s3_bucket_lifecycle_configuration.this.rule[*].filter)}"
  }
  assert {
    condition = alltrue([for r in aws_s3_bucket_lifecycle_configuration.this.rule :
      !startswith("team/a/c1/journal/00000000000000000001", r.filter[0].prefix) && !startswith(r.filter[0].prefix, "team/a/c1/journal")
    ])
    error_message = "a rule touches journal/"
  }
  assert {
    condition = alltrue([for r in aws_s3_bucket_lifecycle_configuration.this.rule :
      coalesce(r.expiration[0].days, 0) == 0 && !strcontains(coalesce(r.expiration[0].date, "none"), "-") && length(r.transition) == 0 && r.expiration[0].expired_object_delete_marker
    ])
    error_message = "a rule moves or expires current objects"
  }
  assert {
    condition = alltrue([for r in aws_s3_bucket_lifecycle_configuration.this.rule :
      r.status == "Enabled" && r.noncurrent_version_expiration[0].noncurrent_days == 3 && r.abort_incomplete_multipart_upload[0].days_after_initiation == 1
    ])
    error_message = "old versions or aborted uploads stay"
  }
}

run "kms" {
  command = apply
  variables {
    kms_key_arn = "arn:aws:kms:eu-central-1:123456789012:key/k"
  }
  assert {
    condition = one(aws_s3_bucket_server_side_encryption_configuration.this.rule).bucket_key_enabled && one(
      aws_s3_bucket_server_side_encryption_configuration.this.rule).apply_server_side_encryption_by_default[0] == {
      sse_algorithm = "aws:kms", kms_master_key_id = "arn:aws:kms:eu-central-1:123456789012:key/k"
    }
    error_message = "the key is not used, or each object asks for it"
  }
}

run "without_versions" {
  command = plan
  variables {
    versioning    = false
    force_destroy = true
  }
  assert {
    condition     = aws_s3_bucket.this.force_destroy
    error_message = "a destroy stops at the data of a trial"
  }
  assert {
    condition     = length(aws_s3_bucket_versioning.this) == 0
    error_message = "versioning is touched"
  }
}

run "refuses_what_aws_would_not_take" {
  command = plan
  variables {
    name            = "Not.A.Bucket"
    prefix          = "/leat/"
    cluster         = "a/b"
    noncurrent_days = 0
    kms_key_arn     = "alias/leat"
  }
  expect_failures = [var.name, var.prefix, var.cluster, var.noncurrent_days, var.kms_key_arn]
}
