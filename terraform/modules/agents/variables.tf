variable "name" {
  type        = string
  description = "Name of everything here."
  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{0,19}$", var.name)) && !endswith(var.name, "-") && !startswith(var.name, "internal-")
    error_message = "name must be 1 to 20 of a-z, 0-9 and -, beginning with a letter, ending with a letter or digit: a load balancer is called after it."
  }
}

variable "image" {
  type        = string
  description = "Image of Leat, with a tag or, better, a digest: 123456789012.dkr.ecr.eu-central-1.amazonaws.com/leat@sha256:…"
  validation {
    condition     = can(regex("(@sha256:[0-9a-f]{64}|:[A-Za-z0-9_][A-Za-z0-9._-]*)$", var.image)) && !endswith(var.image, ":latest")
    error_message = "image must name a tag other than latest, or a digest: agents of one cluster should not run what the registry held when each of them began."
  }
}

variable "image_repository_arn" {
  type        = string
  default     = null
  description = "ARN of the image's ECR repository, which the tasks' execution role may then pull from. Null: an image that anybody can pull."
  validation {
    condition     = var.image_repository_arn == null || can(regex("^arn:[^:]+:ecr:", var.image_repository_arn))
    error_message = "image_repository_arn must be the ARN of an ECR repository."
  }
}

variable "vpc_id" {
  type        = string
  description = "VPC of the subnets."
}

variable "subnets" {
  type        = map(string)
  description = "A subnet in each of three zones, by zone: { eu-central-1a = \"subnet-…\", … }. They need a way to S3, to the image's registry and to CloudWatch Logs."
  validation {
    condition     = length(var.subnets) == 3 && length(distinct(values(var.subnets))) == 3
    error_message = "subnets must be three, each in a zone of its own."
  }
  validation {
    condition     = alltrue([for zone in keys(var.subnets) : can(regex("^[a-z]{2}(-[a-z]+)+-[0-9][a-z]$", zone))])
    error_message = "subnets must have names of zones as keys, as eu-central-1a, not ids as euc1-az1."
  }
}

variable "client_cidrs" {
  type        = set(string)
  description = "IPv4 ranges from which Kafka clients may connect. Whoever is in them may read and write everything."
  validation {
    condition     = length(var.client_cidrs) > 0 && alltrue([for c in var.client_cidrs : can(cidrnetmask(c))])
    error_message = "client_cidrs must be one or more IPv4 ranges as 10.0.0.0/16."
  }
  validation {
    condition     = alltrue([for c in var.client_cidrs : can(tonumber(split("/", c)[1]) >= 8) ? tonumber(split("/", c)[1]) >= 8 : false])
    error_message = "client_cidrs must not be wider than /8: listeners have no authentication yet."
  }
}

variable "metrics_cidrs" {
  type        = set(string)
  default     = []
  description = "IPv4 ranges from which Prometheus may scrape agents on port 9644, where profiles are to be had too."
  validation {
    condition     = alltrue([for c in var.metrics_cidrs : can(cidrnetmask(c)) && can(regex("/([89]|[12][0-9]|3[0-2])$", c))])
    error_message = "metrics_cidrs must be IPv4 ranges of /8 or narrower."
  }
}

variable "metrics_domain" {
  type        = string
  default     = null
  description = "Domain of the VPC's own, as leat.internal, made for Prometheus: ZONE.DOMAIN leads to each agent of the zone. Null: none."
  validation {
    condition     = var.metrics_domain == null || can(regex("^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\\.)+[a-z]([a-z0-9-]{0,61}[a-z0-9])?$", var.metrics_domain))
    error_message = "metrics_domain must be a domain name of two parts or more in lower case."
  }
  validation {
    condition     = var.metrics_domain == null || length(var.metrics_cidrs) > 0
    error_message = "metrics_domain is of no use without metrics_cidrs: nobody reaches what it names."
  }
}

variable "https_egress_cidrs" {
  type        = set(string)
  description = "IPv4 ranges that agents may reach on port 443 beside S3, for the image's registry and CloudWatch Logs: the VPC's range with interface endpoints, 0.0.0.0/0 with a NAT gateway."
  validation {
    condition     = alltrue([for c in var.https_egress_cidrs : can(cidrnetmask(c))])
    error_message = "https_egress_cidrs must be IPv4 ranges."
  }
}

variable "bucket_name" {
  type        = string
  description = "The bucket. See module bucket."
}

variable "bucket_prefix" {
  type        = string
  default     = ""
  description = "Folder within the bucket."
  validation {
    condition     = var.bucket_prefix == "" || can(regex("^[a-zA-Z0-9._-]+(/[a-zA-Z0-9._-]+)*$", var.bucket_prefix))
    error_message = "bucket_prefix must be parts of a-z, A-Z, 0-9, dot, - and _ between slashes, without a slash at either end."
  }
}

variable "cluster" {
  type        = string
  default     = "leat"
  description = "Name of the cluster within the bucket."
  validation {
    condition     = can(regex("^[a-zA-Z0-9._-]{1,64}$", var.cluster)) && !contains([".", ".."], var.cluster)
    error_message = "cluster must be 1 to 64 of a-z, A-Z, 0-9, dot, - and _, and not a dot or two alone."
  }
}

variable "kms_key_arn" {
  type        = string
  default     = null
  description = "Key of a bucket with SSE-KMS, which the agents' role may then use. Null: SSE-S3."
}

variable "cpu" {
  type        = number
  default     = 1024
  description = "Processor units of an agent; 1024 are a vCPU."
  validation {
    condition     = contains([512, 1024, 2048, 4096, 8192, 16384], var.cpu)
    error_message = "cpu must be 512, 1024, 2048, 4096, 8192 or 16384."
  }
}

variable "memory" {
  type        = number
  default     = 2048
  description = "MiB of memory of an agent. A quarter is cache."
  validation {
    condition = contains(lookup({
      "512"   = range(1024, 4097, 1024)
      "1024"  = range(2048, 8193, 1024)
      "2048"  = range(4096, 16385, 1024)
      "4096"  = range(8192, 30721, 1024)
      "8192"  = range(16384, 61441, 4096)
      "16384" = range(32768, 122881, 8192)
    }, tostring(var.cpu), []), var.memory)
    error_message = "memory must be one that Fargate has for this cpu: 2 to 8 GiB a vCPU, at most 4 GiB for 512."
  }
}

variable "architecture" {
  type        = string
  default     = "X86_64"
  description = "X86_64 or ARM64, as the image is."
  validation {
    condition     = contains(["X86_64", "ARM64"], var.architecture)
    error_message = "architecture must be X86_64 or ARM64."
  }
}

variable "cache_disk" {
  type        = number
  default     = 10
  description = "GiB of an agent's disk cache; 0: none, memory only. Up to 10 cost nothing."
  validation {
    condition     = var.cache_disk >= 0 && var.cache_disk <= 190 && floor(var.cache_disk) == var.cache_disk
    error_message = "cache_disk must be a whole number of 0 to 190."
  }
}

variable "settings" {
  type        = map(string)
  default     = {}
  description = "More settings of `leat agent` by name, as { flush-interval = \"100ms\" }. Logs are JSON unless log-format says otherwise."
  validation {
    condition = length(setintersection(keys(var.settings), [
      "store", "journal", "listen", "advertise", "peer", "http", "cluster", "name", "zone", "cache-dir", "cache-disk", "cache-memory",
    ])) == 0
    error_message = "settings must not hold what this module sets itself: store, journal, listen, advertise, peer, http, cluster, name, zone, cache-*."
  }
}

variable "min_agents_per_zone" {
  type        = number
  default     = 2
  description = "Fewest agents in each zone. With 1, clients of a zone that loses its agent wait until the DNS sends them elsewhere."
  validation {
    condition     = var.min_agents_per_zone >= 1 && floor(var.min_agents_per_zone) == var.min_agents_per_zone
    error_message = "min_agents_per_zone must be a whole number of at least 1: clients of a zone without agents have to be sent to another."
  }
}

variable "max_agents_per_zone" {
  type        = number
  default     = 4
  description = "Most agents in each zone."
  validation {
    condition     = var.max_agents_per_zone >= var.min_agents_per_zone && floor(var.max_agents_per_zone) == var.max_agents_per_zone
    error_message = "max_agents_per_zone must be a whole number not below min_agents_per_zone."
  }
}

variable "cpu_target" {
  type        = number
  default     = 60
  description = "Percent of their processors that agents of a zone should use on average; more of them start above it."
  validation {
    condition     = var.cpu_target >= 10 && var.cpu_target <= 90
    error_message = "cpu_target must be 10 to 90."
  }
}

variable "network_target" {
  type        = number
  default     = 30
  description = "MB a second, both ways together, that clients and one agent of a zone should exchange on average; more agents start above it."
  validation {
    condition     = var.network_target > 0
    error_message = "network_target must be positive."
  }
}

variable "client_routing" {
  type        = string
  default     = "availability_zone_affinity"
  description = "Whom the balancer's name leads a client of the VPC to: its own zone (availability_zone_affinity), mostly its own (partial_availability_zone_affinity), any (any_availability_zone)."
  validation {
    condition     = contains(["availability_zone_affinity", "partial_availability_zone_affinity", "any_availability_zone"], var.client_routing)
    error_message = "client_routing must be availability_zone_affinity, partial_availability_zone_affinity or any_availability_zone."
  }
}

variable "host_name" {
  type        = string
  default     = null
  description = "Name under which clients reach the balancer, and the only one that they are told: an alias record of yours, or a PrivateLink endpoint's. Null: the balancer's own."
  validation {
    condition     = var.host_name == null || can(regex("^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\\.)+[a-z]([a-z0-9-]{0,61}[a-z0-9])?$", var.host_name))
    error_message = "host_name must be a domain name in lower case, without a port."
  }
}

variable "proxy_protocol" {
  type        = bool
  default     = false
  description = "Learn clients' addresses from PROXY protocol headers instead of from the packets, for clients that come by PrivateLink or a transit gateway."
}

variable "deregistration_delay" {
  type        = number
  default     = 20
  description = "Seconds between taking an agent out of the balancer and telling it to stop. It serves its connections meanwhile and gets no new ones."
  validation {
    condition     = var.deregistration_delay >= 10 && var.deregistration_delay <= 300
    error_message = "deregistration_delay must be 10 to 300: the balancer takes some seconds to stop sending new connections."
  }
}

variable "stop_timeout" {
  type        = number
  default     = 30
  description = "Seconds that an agent has to stop, once told, before it is killed. It takes less than 10."
  validation {
    condition     = var.stop_timeout >= 15 && var.stop_timeout <= 120
    error_message = "stop_timeout must be 15 to 120: an agent drains in up to 10 seconds, Fargate waits for 120 at most."
  }
}

variable "deletion_protection" {
  type        = bool
  default     = true
  description = "Refuse to destroy the balancer, whose name clients know."
}

variable "wait_for_steady_state" {
  type        = bool
  default     = true
  description = "Let terraform apply wait until agents serve, and fail if they do not."
}

variable "container_insights" {
  type        = bool
  default     = false
  description = "CloudWatch's Container Insights, which cost by the metric. Scaling does not need them."
}

variable "log_days" {
  type        = number
  default     = 30
  description = "Days that logs are kept."
  validation {
    condition     = contains([1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653], var.log_days)
    error_message = "log_days must be one of the numbers that CloudWatch Logs takes: 1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, …"
  }
}

variable "log_kms_key_arn" {
  type        = string
  default     = null
  description = "Key for the logs, whose policy lets CloudWatch Logs use it. Null: CloudWatch's own."
}

variable "tags" {
  type        = map(string)
  default     = {}
  description = "Tags of everything here."
}
