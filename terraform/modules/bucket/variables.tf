variable "name" {
  type        = string
  description = "Name of the bucket, unique in all of AWS."
  validation {
    condition     = can(regex("^[a-z0-9][a-z0-9-]{1,61}[a-z0-9]$", var.name))
    error_message = "name must be 3 to 63 of a-z, 0-9 and -, beginning and ending with a letter or digit; dots would break TLS."
  }
}

variable "prefix" {
  type        = string
  default     = ""
  description = "Folder within the bucket below which clusters keep their objects; empty: the bucket's root."
  validation {
    condition     = var.prefix == "" || can(regex("^[a-zA-Z0-9._-]+(/[a-zA-Z0-9._-]+)*$", var.prefix))
    error_message = "prefix must be parts of a-z, A-Z, 0-9, dot, - and _ between slashes, without a slash at either end."
  }
}

variable "cluster" {
  type        = string
  default     = "leat"
  description = "Name of the cluster within the bucket: the agents' --cluster."
  validation {
    condition     = can(regex("^[a-zA-Z0-9._-]{1,64}$", var.cluster)) && !contains([".", ".."], var.cluster)
    error_message = "cluster must be 1 to 64 of a-z, A-Z, 0-9, dot, - and _, and not a dot or two alone."
  }
}

variable "kms_key_arn" {
  type        = string
  default     = null
  description = "Key for SSE-KMS, with a bucket key. Null: SSE-S3, which costs nothing."
  validation {
    condition     = var.kms_key_arn == null || can(regex("^arn:[^:]+:kms:", var.kms_key_arn))
    error_message = "kms_key_arn must be the ARN of a key, not an alias or an id."
  }
}

variable "versioning" {
  type        = bool
  default     = true
  description = "Keep what is deleted or replaced for noncurrent_days, so that no mistake with the agents' rights destroys data at once."
}

variable "noncurrent_days" {
  type        = number
  default     = 7
  description = "Days after which versions that were deleted or replaced are gone for good; not those of journal/, which no rule touches."
  validation {
    condition     = var.noncurrent_days >= 1 && floor(var.noncurrent_days) == var.noncurrent_days
    error_message = "noncurrent_days must be a whole number of at least 1."
  }
}

variable "force_destroy" {
  type        = bool
  default     = false
  description = "Let terraform destroy delete the bucket with all that is in it. Only for trials."
}

variable "tags" {
  type        = map(string)
  default     = {}
  description = "Tags of the bucket."
}
