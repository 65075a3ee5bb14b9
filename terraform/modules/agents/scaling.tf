resource "aws_appautoscaling_target" "zone" {
  for_each           = aws_ecs_service.zone
  service_namespace  = "ecs"
  scalable_dimension = "ecs:service:DesiredCount"
  resource_id        = "service/${aws_ecs_cluster.this.name}/${each.value.name}"
  min_capacity       = var.min_agents_per_zone
  max_capacity       = var.max_agents_per_zone
}

# Of two policies the one that wants more agents wins; fewer there are only if both want that.
resource "aws_appautoscaling_policy" "cpu" {
  for_each           = aws_appautoscaling_target.zone
  name               = "cpu"
  policy_type        = "TargetTrackingScaling"
  service_namespace  = each.value.service_namespace
  scalable_dimension = each.value.scalable_dimension
  resource_id        = each.value.resource_id

  target_tracking_scaling_policy_configuration {
    target_value       = var.cpu_target
    scale_out_cooldown = 60
    scale_in_cooldown  = 600
    predefined_metric_specification {
      predefined_metric_type = "ECSServiceAverageCPUUtilization"
    }
  }
}

# Bytes of clients, as the balancer counts them in the zone, by its healthy agents there. These metrics cost nothing, whereas
# the bytes of a task's interface come with Container Insights only.
resource "aws_appautoscaling_policy" "network" {
  for_each           = aws_appautoscaling_target.zone
  name               = "network"
  policy_type        = "TargetTrackingScaling"
  service_namespace  = each.value.service_namespace
  scalable_dimension = each.value.scalable_dimension
  resource_id        = each.value.resource_id

  target_tracking_scaling_policy_configuration {
    target_value       = var.network_target * 1000000
    scale_out_cooldown = 60
    scale_in_cooldown  = 600
    customized_metric_specification {
      metrics {
        id          = "bytes"
        return_data = false
        metric_stat {
          stat = "Sum"
          metric {
            namespace   = "AWS/NetworkELB"
            metric_name = "ProcessedBytes"
            dimensions {
              name  = "AvailabilityZone"
              value = each.key
            }
            dimensions {
              name  = "LoadBalancer"
              value = aws_lb.this.arn_suffix
            }
          }
        }
      }
      metrics {
        id          = "agents"
        return_data = false
        metric_stat {
          stat = "Average"
          metric {
            namespace   = "AWS/NetworkELB"
            metric_name = "HealthyHostCount"
            dimensions {
              name  = "AvailabilityZone"
              value = each.key
            }
            dimensions {
              name  = "LoadBalancer"
              value = aws_lb.this.arn_suffix
            }
            dimensions {
              name  = "TargetGroup"
              value = aws_lb_target_group.this.arn_suffix
            }
          }
        }
      }
      metrics {
        id          = "rate"
        label       = "bytes a second of clients by agent"
        expression  = "FILL(bytes, 0) / 60 / agents"
        return_data = true
      }
    }
  }
}
