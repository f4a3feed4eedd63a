# One image for everything: tracker and CLI (rpcpool), sidecar, agent, worker.
# Static binaries and nothing else; each is started by its name.
#
#   docker build --build-arg VERSION=v0.1.0 -t rpcpool:v0.1.0 .
#   docker run --rm -p 9190:9190 rpcpool:v0.1.0 tracker --listen 0.0.0.0:9190

FROM --platform=$BUILDPLATFORM golang:1.26 AS build
ARG TARGETOS
ARG TARGETARCH
ARG VERSION=devel
WORKDIR /src
# The modules change less often than the sources: a layer of their own.
COPY go.mod go.sum ./
RUN go mod download
COPY . .
RUN GOOS=${TARGETOS:-linux} GOARCH=${TARGETARCH} make build BIN=/rootfs/usr/local/bin VERSION=${VERSION} \
	&& install -d -m 1777 /rootfs/tmp

FROM scratch
ARG VERSION=devel
LABEL org.opencontainers.image.title="rpcpool" \
	org.opencontainers.image.description="Pools of fault-isolated RPC servers for Apache TVM clients" \
	org.opencontainers.image.licenses="Apache-2.0" \
	org.opencontainers.image.version="${VERSION}"
COPY --from=build /rootfs/ /
ENV PATH=/usr/local/bin
USER 65532:65532
ENTRYPOINT ["rpcpool"]
CMD ["--help"]
