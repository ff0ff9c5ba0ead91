"""Random changes of training batches, by Keras's preprocessing layers."""

from container.modeling.augmentation.augmentor import AugmentationModel, Augmentor, build_augmentor

__all__ = ["AugmentationModel", "Augmentor", "build_augmentor"]
