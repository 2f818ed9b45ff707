"""A step of the pipeline on Triton's python backend: see parsing_rcnn/triton_models.py."""

import triton_python_backend_utils as utils

from parsing_rcnn.triton_models import Detector


class TritonPythonModel(Detector):
    """The class that Triton's stub looks for."""

    utils = utils
