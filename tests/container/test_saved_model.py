"""The SavedModel of `checkpoint/` by itself, as TensorFlow Serving has it: what it says of a JPEG file's bytes."""

import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from container.report import facts
from tests.container.jobs import CLASSES, copied_program, lay_out, run

pytestmark = pytest.mark.slow


def test_the_signature_for_encoded_images_says_of_jpeg_bytes_what_predictions_csv_says(tmp_path: Path) -> None:
    import tensorflow as tf

    opt_ml = lay_out(tmp_path / "ml")
    evaluation = opt_ml.channel_dir("evaluation")
    for file in evaluation.glob("*/*.png"):
        # As photos come: larger than the model's input, and in color.
        Image.open(file).convert("RGB").resize((60, 50)).save(file.with_suffix(".jpg"), quality=90)
        file.unlink()
    exit_code, log = run(opt_ml, copied_program(tmp_path))
    assert exit_code == 0, log
    with (opt_ml.model_dir / facts.PREDICTIONS_FILE).open() as opened:
        rows = [row for row in csv.DictReader(opened) if row["set"] == "evaluation"]
    assert len(rows) == 12
    signature = tf.saved_model.load(str(opt_ml.model_dir / "checkpoint")).signatures["serving_images"]
    encoded = [(evaluation / row["path"]).read_bytes() for row in rows]
    assert {content[:3] for content in encoded} == {b"\xff\xd8\xff"}
    answered = signature(image_bytes=tf.constant(encoded))["probabilities"].numpy()
    expected = [[float(row[f"probability_{name}"]) for name in CLASSES] for row in rows]
    np.testing.assert_allclose(answered, expected, atol=1e-5)
