# The image of Leat: one static binary, the certificates of well-known authorities, and nothing else: no shell, no package, no user but a number.
#
#   docker build --build-arg VERSION="$(git describe --tags --always --dirty)" -t leat .
#   docker run --rm --read-only --network host leat agent --store s3://… --listen 10.0.0.7:9092
#
# It runs on a read-only root, as any user, with no capabilities. An agent writes nothing to disk unless it is told of a cache folder: mount
# a volume or a tmpfs at /cache and say --cache-dir /cache.
#
# `make image` checks this file where no container engine is, by doing what it says: cmd/image.

# To pin its content too, append @sha256:… as `docker buildx imagetools inspect golang:1.26.8-bookworm` prints it.
ARG GO_IMAGE=docker.io/library/golang:1.26.8-bookworm

FROM --platform=$BUILDPLATFORM ${GO_IMAGE} AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN --mount=type=cache,target=/go/pkg/mod go mod download
COPY . .
ARG TARGETOS
ARG TARGETARCH
ARG VERSION=devel
RUN --mount=type=cache,target=/go/pkg/mod --mount=type=cache,target=/root/.cache/go-build \
    CGO_ENABLED=0 GOOS=$TARGETOS GOARCH=$TARGETARCH \
    go build -trimpath -buildvcs=false -ldflags "-s -w -X main.stamped=$VERSION" -o /out/leat ./cmd/leat
RUN mkdir /out/cache

FROM scratch
ARG VERSION=devel
ARG REVISION=
LABEL org.opencontainers.image.title="Leat" \
      org.opencontainers.image.description="A Kafka-compatible streaming service that keeps every byte in object storage" \
      org.opencontainers.image.source="https://github.com/leat-stream/leat" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$REVISION"
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /src/LICENSE /LICENSE
COPY --from=build /out/leat /leat
COPY --from=build --chown=65532:65532 /out/cache /cache
# Fargate gives a volume mounted here the owner of this folder only if the image declares it.
VOLUME ["/cache"]
# Metrics and health must be reached from outside of the container. Clients must be told an address that they reach, which no image can
# know: --advertise (LEAT_ADVERTISE) is the one setting besides --store that an agent in a container always needs.
ENV LEAT_LISTEN=0.0.0.0:9092 \
    LEAT_PEER=0.0.0.0:9600 \
    LEAT_HTTP=0.0.0.0:9644
USER 65532:65532
EXPOSE 9092 9600 9644
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=5s --timeout=3s --start-period=30s --retries=3 CMD ["/leat", "health"]
ENTRYPOINT ["/leat"]
CMD ["agent"]
