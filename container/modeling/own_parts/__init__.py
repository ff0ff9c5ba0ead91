"""Functions of the user's own in container/parts: found, checked and called."""
