# Nobody has built this image yet: hadolint accepts it, and its commands ran outside of a container.
# docker build --tag pipeline .                            OpenVINO on a processor
# docker build --tag pipeline --build-arg EXTRA=gpu .      CUDA; run it with --gpus all
FROM python:3.12-slim AS wheel
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY pipeline pipeline
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels .

FROM python:3.12-slim
ARG EXTRA=openvino
COPY --from=wheel /wheels /wheels
# Any user may write to its home and to /data: `docker run --user` names one that the image has not.
RUN pip install --no-cache-dir "$(echo /wheels/*.whl)[$EXTRA]" \
    && useradd --create-home --uid 1000 pipeline \
    && install --directory --mode 1777 /data \
    && chmod 1777 /home/pipeline
# Without these two a container sees no GPU, or cannot compute on it.
ENV HOME=/home/pipeline \
    NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility
USER 1000
WORKDIR /data
ENTRYPOINT ["pipeline"]
CMD ["--help"]
