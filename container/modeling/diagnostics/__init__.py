"""Rules that say, while a model is trained, what looks wrong and what may help."""
