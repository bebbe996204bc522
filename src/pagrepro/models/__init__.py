"""Networks: inputs in the data set's own range, logits out."""
