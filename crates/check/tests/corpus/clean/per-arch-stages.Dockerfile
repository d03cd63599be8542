FROM alpine:3.20 AS base
FROM base AS base-amd64
RUN wget -O /bin/tini https://github.com/krallin/tini/releases/download/v0.19.0/tini-static-amd64
FROM base AS base-arm64
RUN wget -O /bin/tini https://github.com/krallin/tini/releases/download/v0.19.0/tini-static-arm64
FROM base-${TARGETARCH}
RUN chmod +x /bin/tini
ENTRYPOINT ["/bin/tini", "--"]
