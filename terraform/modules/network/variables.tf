variable "name" {
  type        = string
  description = "Name of everything here."
  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{0,19}$", var.name))
    error_message = "name must be 1 to 20 of a-z, 0-9 and -, beginning with a letter."
  }
}

variable "cidr" {
  type        = string
  default     = "10.60.0.0/20"
  description = "Addresses of the VPC; each zone's subnet gets a quarter."
  validation {
    condition     = can(cidrnetmask(var.cidr)) && can(regex("/(1[6-9]|2[0-4])$", var.cidr))
    error_message = "cidr must be an IPv4 range of /16 to /24."
  }
}

variable "zones" {
  type        = list(string)
  description = "Three availability zones, as [\"eu-central-1a\", \"eu-central-1b\", \"eu-central-1c\"]."
  validation {
    condition     = length(var.zones) == 3 && length(distinct(var.zones)) == 3
    error_message = "zones must be three different ones."
  }
  validation {
    condition     = alltrue([for z in var.zones : can(regex("^[a-z]{2}(-[a-z]+)+-[0-9][a-z]$", z))])
    error_message = "zones must be names as eu-central-1a, not ids as euc1-az1."
  }
}

variable "bucket_names" {
  type        = list(string)
  description = "The buckets that the VPC reaches through its S3 endpoint. No other can be written or read from here, but for the one that holds ECR's image layers."
  validation {
    condition     = length(var.bucket_names) > 0
    error_message = "bucket_names must name at least the bucket of the agents."
  }
}

variable "interface_endpoints" {
  type        = set(string)
  default     = ["ecr.api", "ecr.dkr", "logs"]
  description = "Services with an endpoint in each zone. The default is what Fargate needs to pull an image from ECR and to write logs without a way to the internet. Empty: the caller gives the subnets another way out."
}

variable "flow_log_days" {
  type        = number
  default     = null
  description = "Keep a log of all connections of the VPC for so many days. Null: none."
  validation {
    condition     = var.flow_log_days == null ? true : contains([1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653], var.flow_log_days)
    error_message = "flow_log_days must be one of the numbers that CloudWatch Logs takes: 1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, …"
  }
}

variable "kms_key_arn" {
  type        = string
  default     = null
  description = "Key for the flow log, whose policy lets CloudWatch Logs use it. Null: CloudWatch's own."
}

variable "tags" {
  type        = map(string)
  default     = {}
  description = "Tags of everything here."
}
