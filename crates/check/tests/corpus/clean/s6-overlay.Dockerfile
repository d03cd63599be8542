FROM alpine:3.20
ARG S6_OVERLAY_VERSION=3.2.0.2
ARG TARGETARCH
ARG TARGETVARIANT
RUN case "${TARGETARCH}/${TARGETVARIANT}" in \
        "amd64/") S6_OVERLAY_ARCH="x86_64" ;; \
        "arm64/"*) S6_OVERLAY_ARCH="aarch64" ;; \
        "arm/v7") S6_OVERLAY_ARCH="arm" ;; \
        *) exit 1 ;; \
    esac \
    && wget -qO- "https://github.com/just-containers/s6-overlay/releases/download/v${S6_OVERLAY_VERSION}/s6-overlay-noarch.tar.xz" | tar -C / -Jxpf - \
    && wget -qO- "https://github.com/just-containers/s6-overlay/releases/download/v${S6_OVERLAY_VERSION}/s6-overlay-${S6_OVERLAY_ARCH}.tar.xz" | tar -C / -Jxpf -
ENTRYPOINT ["/init"]
