FROM alpine:3.20
ARG PRODUCT_VERSION=1.9.8
RUN set -eux && \
    apk add --no-cache ca-certificates gnupg unzip && \
    apkArch="$(apk --print-arch)" && \
    case "${apkArch}" in \
        aarch64) ARCH='arm64' ;; \
        armhf) ARCH='arm' ;; \
        x86) ARCH='386' ;; \
        x86_64) ARCH='amd64' ;; \
        *) echo >&2 "error: unsupported architecture: ${apkArch}"; exit 1 ;; \
    esac && \
    wget https://releases.hashicorp.com/consul/${PRODUCT_VERSION}/consul_${PRODUCT_VERSION}_linux_${ARCH}.zip && \
    unzip -d /tmp consul_${PRODUCT_VERSION}_linux_${ARCH}.zip
ENTRYPOINT ["consul"]
