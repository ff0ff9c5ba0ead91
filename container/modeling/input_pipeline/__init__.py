"""From labeled images to batches of pixels: which images are in a batch, how they are read, and where they are kept."""
