locals {
  # The image's folder for it, which belongs to the image's user and is a VOLUME there: Fargate gives a task's volume to the owner
  # that the folder has in the image, and to root if it is no VOLUME.
  cache_dir  = "/cache"
  disk_cache = var.cache_disk > 0

  # What `leat agent` is told, but for the zone. It gets no --name: a task that replaces another is another agent.
  arguments = concat([
    "--store=${local.store}",
    "--journal=bucket:",
    "--cluster=${var.cluster}",
    "--advertise=shared=${local.bootstrap}",
    "--peer=0.0.0.0:${local.peer_port}",
    "--http=0.0.0.0:${local.http_port}${var.proxy_protocol ? "?proxy=v2" : ""}",
    "--cache-memory=${floor(var.memory / 4)}MiB",
  ], local.disk_cache ? ["--cache-dir=${local.cache_dir}", "--cache-disk=${var.cache_disk}GiB"] : [], [for name, value in merge({ log-format = "json" }, var.settings) : "--${name}=${value}"])

  # Fargate's first 20 GiB cost nothing; the image lies on the same disk.
  disk = var.cache_disk + 10

  # Sorted by name as AWS answers, or every plan would show a change.
  environment = [
    # The collector works harder before the kernel kills. What is left is for what Go does not count.
    { name = "GOMEMLIMIT", value = "${floor(var.memory * 0.85)}MiB" },
  ]
}

resource "aws_ecs_task_definition" "zone" {
  for_each = var.subnets

  family                   = "${var.name}-${each.key}"
  requires_compatibilities = ["FARGATE"]
  network_mode             = "awsvpc"
  cpu                      = var.cpu
  memory                   = var.memory
  task_role_arn            = aws_iam_role.agent.arn
  execution_role_arn       = aws_iam_role.execution.arn

  runtime_platform {
    operating_system_family = "LINUX"
    cpu_architecture        = var.architecture
  }

  dynamic "volume" {
    for_each = local.disk_cache ? ["cache"] : []
    content {
      name = volume.value
    }
  }

  dynamic "ephemeral_storage" {
    for_each = local.disk > 20 ? [local.disk] : []
    content {
      size_in_gib = ephemeral_storage.value
    }
  }

  container_definitions = jsonencode([{
    name      = "leat"
    image     = var.image
    essential = true
    command = concat(["agent",
      "--zone=${each.key}",
      "--listen=0.0.0.0:${local.kafka_port}?zone=${each.key}${var.proxy_protocol ? "&proxy=v2" : ""}",
    ], local.arguments)
    environment = local.environment

    user                   = "65532:65532"
    readonlyRootFilesystem = true
    linuxParameters        = { capabilities = { add = [], drop = ["ALL"] } }
    mountPoints            = [for v in local.disk_cache ? ["cache"] : [] : { sourceVolume = v, containerPath = local.cache_dir, readOnly = false }]

    portMappings = [for port in [local.kafka_port, local.peer_port, local.http_port] : {
      containerPort = port, hostPort = port, protocol = "tcp"
    }]

    # Whether it is alive: a dead one is replaced. Whether it is ready, the balancer asks.
    healthCheck = {
      command     = ["CMD", "/leat", "health", "--live", "--http=127.0.0.1:${local.http_port}"]
      interval    = 10
      timeout     = 5
      retries     = 3
      startPeriod = 60
    }
    stopTimeout = var.stop_timeout

    logConfiguration = {
      logDriver = "awslogs"
      options = {
        "awslogs-group"         = local.log_group
        "awslogs-region"        = local.region
        "awslogs-stream-prefix" = "agent"
        # An agent must not wait for its log.
        "mode"            = "non-blocking"
        "max-buffer-size" = "4m"
      }
    }

    systemControls = []
    volumesFrom    = []
  }])

  tags = var.tags
}
