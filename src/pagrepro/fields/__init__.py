"""Arrays per image and class: target directions, teacher gradients, projections, masks."""
