output "name" {
  # After the policy and the rules, so that nobody writes before they hold.
  depends_on = [
    aws_s3_bucket_policy.this, aws_s3_bucket_ownership_controls.this, aws_s3_bucket_lifecycle_configuration.this,
    aws_s3_bucket_server_side_encryption_configuration.this,
  ]
  description = "Name of the bucket."
  value       = aws_s3_bucket.this.bucket
}

output "arn" {
  description = "ARN of the bucket."
  value       = local.arn
}

output "prefix" {
  description = "Folder within the bucket, for module agents."
  value       = var.prefix
}

output "cluster" {
  description = "Name of the cluster within the bucket, for module agents."
  value       = var.cluster
}

output "kms_key_arn" {
  description = "Key of SSE-KMS or null, for module agents."
  value       = var.kms_key_arn
}
