"""Your own functions: a model builder, a loader, a preprocessor, an augmentor, an evaluator.

A module laid here becomes a part of the training image, and a setting names its function: `my_model:build` is the
function `build` of `my_model.py`. What each kind of function takes and returns stands in docs/parts.md.
"""
