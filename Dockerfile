# asr serve with the packages of a CPU. Build: docker build -t asr .
# Run: docker run -p 127.0.0.1:8000:8000 -v ./models:/models:ro asr model.asr
FROM python:3.12-slim

# The builds of PyTorch on PyPI for Linux bring 3 GB of CUDA with them. For a GPU, build with
# --build-arg TORCH_INDEX=https://download.pytorch.org/whl/cu130
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu

COPY . /src
RUN pip install --no-cache-dir --extra-index-url $TORCH_INDEX '/src[serve,train]'

# Compiled kernels and uploads go to /tmp, so that the rest can be read-only.
ENV HOME=/tmp NUMBA_CACHE_DIR=/tmp/numba
USER 1000:1000
WORKDIR /models

# HTTP and the page, Vosk, Wyoming
EXPOSE 8000 2700 10300
HEALTHCHECK --interval=10s --timeout=5s --start-period=120s \
    CMD python -c "import urllib.request as r; r.urlopen('http://127.0.0.1:8000/readyz', timeout=4)"
ENTRYPOINT ["asr", "serve", "--host", "0.0.0.0"]
CMD ["model.asr"]
