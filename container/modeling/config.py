"""The settings of this project: the one file to edit.

What is not set here has the default of settings.py; the README's table lists every setting with its range. Each can
also be overridden for one run: `python project_manager.py --set training.epochs=30 --launch_training`.
"""

from container.modeling.settings import Data, Image, Model, Training, TrainingJob

# Lower case; must be unique among all users of S3: the buckets are <PROJECT_NAME>.data, .output and .logs.
PROJECT_NAME = "handwritten-digits"
# Training jobs are called <ALGORITHM_NAME>-YYYY-mm-dd-HH-MM-SS.
ALGORITHM_NAME = "digits-cnn"

DATA = Data(
    directory="data/digits",  # one sub-folder of images per class
    training_fraction=0.8,
    validation_fraction=0.1,
    evaluation_fraction=0.1,
)
IMAGE = Image(height=16, width=16, channels=1)  # pixels; 1 channel is greyscale, 3 is RGB
MODEL = Model(name="baseline")
TRAINING = Training(
    epochs=20,
    batch_size=32,  # images
    learning_rate=5e-4,
    monitor="val_loss",  # tells epochs apart where the accuracy on few images is the same
    patience=8,  # epochs without improvement
)
TRAINING_JOB = TrainingJob(
    instance_type="ml.g5.xlarge",  # one NVIDIA A10G
    max_runtime_seconds=3600,
)
