"""Following a training beside the job's log: TensorBoard, MLflow, Weights & Biases."""
