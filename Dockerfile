# The first stage exports a checkpoint, the second gathers packages, the last holds Python, these, and the bundle.
#
#   make image                               the default model, from the hub
#   make image MODEL=models/minilm-qa        the checkpoint in this repository; needs no hub
#
# docs/image.md says what is in it and how that is verified.

ARG BASE=python:3.12-slim-bookworm

FROM ${BASE} AS export
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
ARG MODEL=
ARG REVISION=
ARG OPTIONS=
WORKDIR /build
COPY hashes hashes
# Before the code, so that a change of it leaves this layer alone. Each file is one that `make hashes` has seen.
RUN python3 -m venv /opt/export \
    && pip() { /opt/export/bin/python -m pip install --no-cache-dir --no-deps --require-hashes "$@"; } \
    && { pip --retries 0 --timeout 15 --index-url "$TORCH_INDEX" -r hashes/torch.txt || pip -r hashes/torch.txt \
        || { echo "torch's build without CUDA is neither at TORCH_INDEX nor at pip's own index" >&2; exit 1; }; } \
    && pip -r hashes/export.txt && /opt/export/bin/python -m pip check
COPY samples samples
COPY models models
COPY runtime runtime
COPY export export
# The fp32 graph of a second look would make the default model's image larger than 450 MB (docs/export.md); an option in
# OPTIONS comes later, and wins.
RUN /opt/export/bin/python -m export ${MODEL} ${REVISION:+--revision "$REVISION"} --output /model --second-look off ${OPTIONS}

FROM ${BASE} AS packages
ENV PYTHONDONTWRITEBYTECODE=1 PYTHONHASHSEED=0
WORKDIR /build
# For `strip`.
RUN command -v strip > /dev/null \
    || { apt-get update && apt-get install -y --no-install-recommends binutils && rm -rf /var/lib/apt/lists/*; }
COPY image-packages.txt ./
COPY hashes hashes
# A virtual environment without an installer: the one that fills it stays here.
RUN python3 -m venv /opt/pip \
    && /opt/pip/bin/pip install --no-cache-dir --no-deps --require-hashes -r hashes/build.txt \
    && python3 -m venv --without-pip /opt/answermill \
    && /opt/pip/bin/pip --python /opt/answermill/bin/python install \
        --no-cache-dir --no-compile --no-deps --require-hashes -r hashes/image.txt
COPY answermill.py pyproject.toml LICENSE README.md ./
COPY image image
COPY export export
COPY pachyderm pachyderm
COPY runtime runtime
COPY stages stages
RUN /opt/pip/bin/pip wheel --no-cache-dir --no-deps --no-build-isolation --wheel-dir wheel . \
    && /opt/pip/bin/pip --python /opt/answermill/bin/python install --no-cache-dir --no-compile --no-deps wheel/*.whl
# Nothing of what is removed is imported; a stripped library lacks the names of its inner functions, no more. Libraries
# in *.libs were rewritten by auditwheel, which strip is known to damage.
RUN cd /opt/answermill/lib/python3*/site-packages \
    # Only two rooms and the face run in the image.
    && rm -rf export pachyderm \
    # For exporting and converting models.
    && rm -rf onnxruntime/backend onnxruntime/datasets onnxruntime/quantization onnxruntime/tools onnxruntime/transformers \
    # For programs in C; the Python module has the same code in itself.
    && rm -f onnxruntime/capi/libonnxruntime.so* \
    # For building against numpy.
    && rm -rf numpy/f2py numpy/distutils numpy/_core/include numpy/_core/lib numpy/random/lib numpy/random/_examples \
    && find . -type d \( -name tests -o -name __pycache__ \) -prune -exec rm -rf {} + \
    && find . -type f \( -name '*.pyi' -o -name '*.pxd' -o -name '*.pyx' -o -name '*.proto' -o -name '*.h' \) -delete \
    && find . -type f -name '*.so*' ! -path '*.libs/*' -exec strip --strip-unneeded {} + \
    # Each is to be found, and loaded as stripped, or there is no image.
    && GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT=false /opt/answermill/bin/python -c \
        'import gcsfs, google_crc32c, grpc, numpy, onnxruntime, polars, psycopg, tokenizers, tqdm'
COPY --from=export /model/manifest.json ./
# Compiled once, as no run can write; checked by nobody, so that no time of the build is in it. pip's notes of where a
# wheel came from, and its lists of files as they were before, are of no use any more.
RUN /opt/answermill/bin/python -m compileall -q --invalidation-mode unchecked-hash /opt/answermill/lib \
    && /opt/answermill/bin/python -m image.report image-packages.txt manifest.json > /opt/answermill/packages.md \
    && /opt/pip/bin/cyclonedx-py environment --pyproject pyproject.toml --output-reproducible \
        -o /opt/answermill/sbom.cdx.json /opt/answermill/bin/python \
    && cd /opt/answermill && rm -rf include && find bin -type f -delete \
    && find . -path '*.dist-info/*' \( -name RECORD -o -name INSTALLER -o -name REQUESTED -o -name direct_url.json \) -delete

FROM ${BASE}
# Neither an installer nor a file that runs as somebody else, and one place to write to.
RUN rm -rf "$(python3 -c 'import sysconfig; print(sysconfig.get_path("stdlib"))')/ensurepip" \
    && rm -rf "$(python3 -c 'import sysconfig; print(sysconfig.get_path("purelib"))')"/* \
    && rm -rf /usr/share/python-wheels /usr/local/bin/pip* /usr/local/bin/idle* /usr/local/bin/pydoc* /usr/local/bin/2to3* \
    && find / -xdev -perm /6000 \( -type f -o -type d \) -exec chmod ug-s {} + \
    && find / -xdev -perm -0002 ! -type l ! -path /tmp -exec chmod o-w {} + \
    && echo 'answermill:x:10001:10001::/tmp:/sbin/nologin' >> /etc/passwd \
    && mkdir /pfs && chown 10001:10001 /pfs
ENV PATH=/opt/answermill/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 HF_HUB_OFFLINE=1 ORT_DISABLE_TELEMETRY=1
COPY --from=packages /opt/answermill /opt/answermill
COPY --from=export /model /model
USER 10001:10001
WORKDIR /tmp
CMD ["python", "-m", "stages.answer", "--help"]
