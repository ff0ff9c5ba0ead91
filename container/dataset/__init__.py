"""Images as files: found, checked and split. Imports no TensorFlow."""
