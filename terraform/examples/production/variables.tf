variable "region" {
  type        = string
  description = "AWS region."
}

variable "zone_letters" {
  type        = list(string)
  default     = ["a", "b", "c"]
  description = "Letters of three availability zones of the region."
}

variable "name" {
  type        = string
  default     = "leat"
  description = "Name of everything here, and of the cluster within the bucket."
}

variable "cidr" {
  type        = string
  description = "Addresses of the VPC, which those networks do not have from which clients come."
}

variable "client_cidrs" {
  type        = set(string)
  description = "IPv4 ranges of the Kafka clients. Whoever is in them may read and write everything."
}

variable "metrics_cidrs" {
  type        = set(string)
  default     = []
  description = "IPv4 ranges of Prometheus, which then finds the agents below NAME.internal."
}

variable "bucket" {
  type        = string
  description = "Name of the bucket to make, unique in all of AWS."
}

variable "image" {
  type        = string
  description = "Leat's image by digest, in an ECR registry of the region: nothing in the VPC reaches another."
  validation {
    condition     = can(regex("@sha256:[0-9a-f]{64}$", var.image))
    error_message = "image must name a digest, so that what runs is what was tested."
  }
}

variable "image_repository_arn" {
  type        = string
  description = "ARN of the image's ECR repository."
}
