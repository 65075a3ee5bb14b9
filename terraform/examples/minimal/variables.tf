variable "region" {
  type        = string
  default     = "eu-central-1"
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
  description = "Name of everything here."
}

variable "bucket" {
  type        = string
  description = "Name of the bucket to make, unique in all of AWS."
}

variable "image" {
  type        = string
  description = "Leat's image in an ECR registry of the region: nothing in the VPC reaches another."
}

variable "image_repository_arn" {
  type        = string
  description = "ARN of the image's ECR repository."
}
