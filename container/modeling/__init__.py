"""From labeled images to a trained, evaluated and exported classifier."""
