# syntax=docker/dockerfile:1
# Four images from one file:
#
#   docker build -t parsing-rcnn .                                   the gateway on the CPU, no CUDA (the default, `gateway`)
#   docker build -t parsing-rcnn-triton --target triton --build-arg TRITON_IMAGE=... .          Triton with the repository
#   docker build -t parsing-rcnn-triton --target triton-plugin --build-arg TRITON_IMAGE=... --build-arg TENSORRT_IMAGE=... .
#                                                                    and with PyramidRoiAlign
#   docker build -t parsing-rcnn-engines --target engines --build-arg TENSORRT_IMAGE=... .   builds engines when it runs
#
# TRITON_IMAGE and TENSORRT_IMAGE are NVIDIA's `tritonserver` and `tensorrt` of one release, with their registry in front.
# Engines hold for one kind of GPU and one TensorRT, and no build of an image sees a GPU: the image `engines` makes them on
# the GPU that it is started on, into the volume that Triton reads (compose.gpu.yaml, deploy/kubernetes/overlays/gpu).
ARG PYTHON_IMAGE=python:3.11.14-slim-bookworm
ARG TRITON_IMAGE=tritonserver:26.07-py3
ARG TENSORRT_IMAGE=tensorrt:26.07-py3

# ---- the serving environment: what `make serve` installs
FROM ${PYTHON_IMAGE} AS environment
WORKDIR /opt/parsing-rcnn
COPY requirements/serve.txt requirements/serve.txt
RUN python -m venv /opt/venv \
    && /opt/venv/bin/python -m pip install --no-cache-dir --disable-pip-version-check -r requirements/serve.txt
COPY pyproject.toml setup.py README.md LICENSE NOTICE ./
COPY client client
COPY parsing_rcnn parsing_rcnn
RUN /opt/venv/bin/python -m pip install --no-cache-dir --no-deps --no-build-isolation -e . -e client \
    && /opt/venv/bin/python -m pip uninstall --yes pip

# ---- the custom operator: libprcnn_plugin.so for trtexec, libprcnn_triton.so for Triton's TensorRT backend
FROM ${TENSORRT_IMAGE} AS plugin
WORKDIR /build
COPY export/plugin export/plugin
RUN cmake -S export/plugin -B build/plugin -DCMAKE_BUILD_TYPE=Release -DPRCNN_CUDA=ON \
        -DTENSORRT_INCLUDE_DIR="$(dirname "$(find /usr/include /usr/local -name NvInfer.h -print -quit)")" \
    && cmake --build build/plugin --target prcnn_plugin prcnn_triton --parallel

# ---- graphs as TensorRT's parser takes them, and the trtexec command of each engine
FROM ${PYTHON_IMAGE} AS graphs
WORKDIR /opt/parsing-rcnn
COPY requirements/train.txt requirements/train.txt
RUN python -m pip install --no-cache-dir --disable-pip-version-check -r requirements/train.txt
COPY pyproject.toml ./
COPY parsing_rcnn parsing_rcnn
COPY training training
COPY export export
COPY model_repository model_repository
ENV PARSING_RCNN_CACHE=/models/cache
RUN python -m parsing_rcnn export model_repository --out /models/repository --target tensorrt --precision fp16 \
        --plugin /models/build/plugin/libprcnn_plugin.so --print-trtexec > /models/said.txt \
    && grep "^trtexec " /models/said.txt > /models/trtexec.txt \
    && rm /models/said.txt

# ---- engines: built for the GPU that this image is started on, into /models
FROM ${TENSORRT_IMAGE} AS engines
COPY --from=graphs /models /opt/engines
COPY --from=plugin /build/build/plugin/libprcnn_plugin.so /build/build/plugin/libprcnn_triton.so \
    /opt/engines/build/plugin/
COPY scripts/build_engines.sh /usr/local/bin/build_engines.sh
COPY LICENSE NOTICE /usr/share/doc/parsing-rcnn/
RUN install -d -o 1000 -g 1000 /models
# where releases of that image keep trtexec
ENV PATH=/usr/src/tensorrt/bin:/opt/tensorrt/bin:/workspace/tensorrt/bin:$PATH
USER 1000:1000
VOLUME /models
ENTRYPOINT ["/usr/local/bin/build_engines.sh"]

# ---- Triton: ensembles, heads and detector; the profile is picked by what it finds (engines, a GPU, neither)
FROM ${TRITON_IMAGE} AS triton
WORKDIR /opt/parsing-rcnn
COPY requirements/serve.txt requirements/serve.txt
RUN python3 -m pip install --no-cache-dir --disable-pip-version-check --target /opt/packages -r requirements/serve.txt
# The supervisor and Triton's Python models import from both. Some releases run the models in an isolated interpreter, which
# does not read PYTHONPATH; a .pth file is read by all.
RUN echo 'import sys; sys.path[:0] = ["/opt/parsing-rcnn", "/opt/packages"]' \
        > "$(python3 -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/parsing_rcnn.pth"
# pyproject.toml marks the folder whose applications are found
COPY pyproject.toml LICENSE NOTICE ./
COPY server server
COPY parsing_rcnn parsing_rcnn
COPY model_repository model_repository
# of Triton's own backend, too
ENV ORT_DISABLE_TELEMETRY=1
USER 1000:1000
EXPOSE 8000 8001 8002
HEALTHCHECK --interval=10s --timeout=5s --start-period=300s --retries=3 \
    CMD ["python3", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/v2/health/ready', timeout=4)"]
ENTRYPOINT ["python3", "-m", "parsing_rcnn"]
CMD ["triton", "--host", "0.0.0.0", "--log-format", "json"]

FROM triton AS triton-plugin
COPY --from=plugin /build/build/plugin/libprcnn_triton.so build/plugin/libprcnn_triton.so

# ---- the gateway: the last stage is what `docker build .` makes
FROM ${PYTHON_IMAGE} AS gateway
RUN groupadd --gid 10001 parsing && useradd --uid 10001 --gid 10001 --no-create-home --shell /usr/sbin/nologin parsing
WORKDIR /opt/parsing-rcnn
COPY --from=environment /opt/venv /opt/venv
COPY --from=environment /opt/parsing-rcnn ./
COPY server server
COPY model_repository model_repository
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    ORT_DISABLE_TELEMETRY=1 \
    PARSING_RCNN_HOST=0.0.0.0 \
    PARSING_RCNN_LOG_FORMAT=json
USER 10001:10001
EXPOSE 8080
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request as u; u.urlopen(f'http://127.0.0.1:{os.environ.get(\"PARSING_RCNN_PORT\", 8080)}/readyz', timeout=4)"]
ENTRYPOINT ["parsing-rcnn"]
CMD ["serve"]
