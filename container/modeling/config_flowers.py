"""An example of config.py for photos of flowers: 224x224 pixels in color, a new head on a trained backbone.

Use it by `--config container/modeling/config_flowers.py`, or copy it over config.py.
"""

from container.modeling.settings import Data, FineTuning, Image, Model, Training, TrainingJob

PROJECT_NAME = "flowers-classifier"
ALGORITHM_NAME = "flowers-mobilenet"

DATA = Data(
    directory="data/flowers",
    training_fraction=0.7,
    validation_fraction=0.15,
    evaluation_fraction=0.15,
)
IMAGE = Image(height=224, width=224, channels=3, resize="crop")
MODEL = Model(name="fine_tune", head=((256, 0.4),))
# Adam's usual step size suits the new head, which starts from random weights.
TRAINING = Training(epochs=10, batch_size=32, learning_rate=1e-3, patience=3)
# The backbone already sees well: small steps, and only its last layers.
FINE_TUNING = FineTuning(backbone="MobileNetV2", weights="imagenet", epochs=20, released_layers=40, learning_rate=1e-5)
TRAINING_JOB = TrainingJob(instance_type="ml.g5.xlarge", volume_size_gb=50, max_runtime_seconds=4 * 3600)
