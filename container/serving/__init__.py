"""Answers requests with a trained model: what `serve` runs inside SageMaker. docs/serving.md is its contract."""
