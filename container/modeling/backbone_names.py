"""The backbones that keras.applications has, by name: what a setting is checked by where there is no TensorFlow."""

from container.errors import hint

BACKBONES = (
    *("ConvNeXtBase", "ConvNeXtLarge", "ConvNeXtSmall", "ConvNeXtTiny", "ConvNeXtXLarge"),
    *("DenseNet121", "DenseNet169", "DenseNet201"),
    *("EfficientNetB0", "EfficientNetB1", "EfficientNetB2", "EfficientNetB3"),
    *("EfficientNetB4", "EfficientNetB5", "EfficientNetB6", "EfficientNetB7"),
    *("EfficientNetV2B0", "EfficientNetV2B1", "EfficientNetV2B2", "EfficientNetV2B3"),
    *("EfficientNetV2L", "EfficientNetV2M", "EfficientNetV2S"),
    *("InceptionResNetV2", "InceptionV3"),
    *("MobileNet", "MobileNetV2", "MobileNetV3Large", "MobileNetV3Small"),
    *("NASNetLarge", "NASNetMobile"),
    *("ResNet101", "ResNet101V2", "ResNet152", "ResNet152V2", "ResNet50", "ResNet50V2"),
    *("VGG16", "VGG19"),
    "Xception",
)


def check_backbone(name: str, others: tuple[str, ...] = ()) -> str:
    """Return the name if it is that of a backbone, or one of the others.

    Raises:
        ValueError: there is no such backbone; with a suggestion.
    """
    known = (*BACKBONES, *others)
    if name in known:
        return name
    lists = "; https://keras.io/api/applications lists them"
    raise ValueError(f"keras.applications has no such model{hint(name, known, lists)}")
