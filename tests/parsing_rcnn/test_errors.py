"""Which errors of libraries say that memory ran out."""

from __future__ import annotations

import pytest

from parsing_rcnn.errors import is_shortage


@pytest.mark.parametrize(
    "said",
    [
        "std::bad_alloc",
        "[enforce fail at alloc_cpu.cpp:124] . DefaultCPUAllocator: can't allocate memory: 9 bytes.",
        "Failed to allocate memory for requested buffer of size 1073741824",
        "CUDA out of memory. Tried to allocate 2.00 GiB.",
        "CUBLAS failure 3: CUBLAS_STATUS_ALLOC_FAILED ; GPU=0 ; hostname=a ; expr=cublasCreate(&cublas_handle_);",
        "CUDNN failure 4: CUDNN_STATUS_ALLOC_FAILED ; GPU=0",
        "could not execute a primitive: out_of_memory",
        "posix_memalign failed",
        "Resource temporarily unavailable",
    ],
)
def test_words_of_a_shortage(said: str) -> None:
    assert is_shortage(RuntimeError(said))


def test_pythons_shortage_is_known_by_its_type() -> None:
    assert is_shortage(MemoryError())


@pytest.mark.parametrize(
    "said",
    [
        "Protobuf parsing failed.",
        "Load model from detector/1/model.onnx failed: file is truncated",
        "CUBLAS failure 13: CUBLAS_STATUS_EXECUTION_FAILED",
        "Got invalid dimensions for input: CANVAS",
        "balloc failed to dislocate",
    ],
)
def test_other_errors_are_no_shortage(said: str) -> None:
    assert not is_shortage(RuntimeError(said))
