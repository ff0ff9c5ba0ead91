"""What a run found out, as facts that any machine can read. Imports no TensorFlow."""
