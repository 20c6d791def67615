# A translation server: docker build -t dims-hf . && docker run -p 5000:5000 -v "$PWD/model_cards:/models:ro" dims-hf
FROM python:3.12-slim

# torch for the CPU; on a machine with a GPU build with --build-arg TORCH_INDEX=https://pypi.org/simple
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
RUN pip install --no-cache-dir --index-url "$TORCH_INDEX" torch

WORKDIR /build
COPY setup.cfg setup.py pyproject.toml README.md LICENSE ./
COPY dims_hf ./dims_hf
RUN pip install --no-cache-dir ".[serve,onnx]" && rm -rf /build

# no rights on the host's files, nothing to write but its own temporary folder
RUN useradd --create-home --uid 10001 translator
USER translator
WORKDIR /home/translator
ENV HF_HUB_OFFLINE=1 TRANSFORMERS_OFFLINE=1

EXPOSE 5000
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s \
    CMD python -c "import urllib.request; urllib.request.urlopen('http://127.0.0.1:5000/health', timeout=4)"
# Docker sends SIGTERM and waits ten seconds; the server ends within eight.
ENTRYPOINT ["dims-hf", "serve", "--host", "0.0.0.0", "--port", "5000"]
CMD ["--model", "en-de=/models/tatoeba-en-de-dims"]
